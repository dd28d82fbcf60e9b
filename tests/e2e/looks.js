// Runs axe on the elements with words of which nothing in `seen` looks the same, and tells how they look.
// Two that are drawn alike, each within what it stands in, are read alike: of those that stand on a hundred
// pages one is enough.
([options, seen]) => {
    const SAYS = [
        "color", "backgroundColor", "backgroundImage", "opacity", "fontSize", "fontWeight", "filter",
        "textShadow", "textDecorationLine", "borderBottomWidth", "mixBlendMode", "position", "zIndex",
    ];
    const SEEN_BY_EYE = {visibilityProperty: true, opacityProperty: true};
    const known = new Set(seen), drawn = new Map(), fresh = [];

    // FNV-1a, and once more with other constants: 64 bits in all, so that no two looks meet by chance.
    const hash = (text) => {
        let [a, b] = [0x811c9dc5, 0x1b873593];
        for (let at = 0; at < text.length; at++) {
            a = Math.imul(a ^ text.charCodeAt(at), 0x01000193);
            b = Math.imul(b ^ text.charCodeAt(at), 0x85ebca6b);
        }
        return `${a >>> 0}.${b >>> 0}`;
    };
    const look = (element) => {
        if (!element) return "";
        if (!drawn.has(element)) {
            const style = getComputedStyle(element);
            const own = SAYS.map((name) => style[name]).join("|");
            drawn.set(element, hash(`${look(element.parentElement)} ${element.localName} ${own}`));
        }
        return drawn.get(element);
    };
    const read = (element) => element.matches("input, select, textarea")
        || [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());

    for (const element of document.body.querySelectorAll("*")) {
        if (!read(element) || !element.checkVisibility(SEEN_BY_EYE) || known.has(look(element))) continue;
        known.add(look(element));
        fresh.push(element);
    }
    if (!fresh.length) return {looks: [], violations: []};
    return axe.run({include: fresh}, options)
        .then((found) => ({looks: fresh.map(look), violations: found.violations}));
}
