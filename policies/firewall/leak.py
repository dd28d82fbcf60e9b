"""Phrases that ask an agent for its own instructions."""

from __future__ import annotations

from policies.firewall.findings import BOUNDARY, GAP, Hit, Pattern, Text, phrases

NAME = "leak"

_B, _W = BOUNDARY, GAP

_SHOW = (
    r"(?:show|reveal|print|repeat|output|display|tell|give|share|expose|disclose|leak|recite|dump|return|"
    r"echo|"
    r"paste|copy|spell out|write (?:out|down)|read out|list|provide|summari[sz]e|translate|encode|what)"
)
_FILL = (
    r"(?:me|us|the|your|you|all|of|out|full|entire|exact|complete|verbatim|whole|first|own|a|an|is|are|was|"
    r"were|"
    r"s|about|with|to|back|again|this|that|these|and|everything|in|current|actual|real|original|above|any)"
)
_SECRET = r"(?:system|initial|hidden|original|secret|developer|pre|starting|confidential|internal)"
_OBJECT = r"(?:prompts?|instructions?|messages?|guidelines?|directives?|configuration|preprompt)"
_ASK_ANSWER = (
    r"(?:you (?:were|have been|got|received|are) (?:given|told|instructed|provided|programmed)(?: with)?)"
)

PATTERNS = (
    Pattern(
        rf"{_B}(?P<hit>{_SHOW}{_W}(?:{_FILL}{_W}){{0,7}}(?:system|developer|hidden|initial|secret){_W}"
        rf"(?:{_SECRET}{_W})?(?:prompts?|instructions|preprompt|message prompt))",
        "high",
        "asks for the system prompt",
    ),
    Pattern(
        rf"{_B}(?P<hit>{_SHOW}{_W}(?:{_FILL}{_W}){{0,6}}your{_W}(?:{_FILL}{_W}|{_SECRET}{_W}){{0,4}}"
        rf"(?:prompts?|instructions?|guidelines|directives|system message|prompt.?texts?))",
        "medium",
        "asks for the agent's own instructions",
    ),
    Pattern(
        rf"{_B}(?P<hit>{_SHOW}{_W}(?:{_FILL}{_W}){{0,6}}{_OBJECT}{_W}(?:that{_W})?{_ASK_ANSWER})",
        "medium",
        "asks for the agent's own instructions",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:repeat|print|output|copy|translate|recite|write){_W}(?:{_FILL}{_W}){{0,4}}"
        rf"(?:words|text|everything|all|lines|content|sentences|paragraphs?){_W}(?:{_FILL}{_W}){{0,3}}"
        rf"(?:above|before this|preceding|prior to this|starting with))",
        "medium",
        "asks to repeat what stands above",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:zeige?|nenne|verrate?|gib|drucke|wiederhole|sag|liste|offenbare|what){_W}"
        rf"(?:(?:mir|uns|bitte|alle|deine?n?|ihre?n?|den|die|das|kompletten?|ganzen?|genauen?|vollständigen?|"
        rf"ursprünglichen?|internen?|geheimen?|aus|text|des){_W}){{1,6}}"
        rf"(?:system.?prompts?|prompts?(?:.?texte?)?|systemanweisung(?:en)?|(?:system|start).?anweisungen|"
        rf"instruktionen))",
        "high",
        "asks for the system prompt (German)",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:mu[eé]stra(?:me)?|revela(?:me)?|dime|repite|imprime|ens[eé][ñn]a(?:me)?|dame|"
        rf"muestre){_W}"
        rf"(?:(?:me|nos|todas?|todos|tus?|sus?|el|la|las|los|del?|texto|completo|por|favor){_W}){{1,6}}"
        rf"(?:prompts?(?:{_W}del{_W}sistema)?|instrucciones|indicaciones{_W}(?:iniciales|internas)))",
        "high",
        "asks for the system prompt (Spanish)",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:montre|affiche|r[eé]v[eè]le|r[eé]p[eè]te|donne|dis|imprime|montrez|affichez|"
        rf"donnez){_W}"
        rf"(?:(?:moi|nous|toutes?|tous|tes|ton|ta|vos|votre|le|la|les|du|de|texte|complet){_W}){{1,6}}"
        rf"(?:prompts?(?:{_W}syst[eè]me)?|instructions{_W}(?:syst[eè]me|initiales|internes)|"
        rf"consignes{_W}initiales))",
        "high",
        "asks for the system prompt (French)",
    ),
)


def detect(text: Text) -> list[Hit]:
    return phrases(NAME, text, PATTERNS)
