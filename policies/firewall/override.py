"""Phrases that override an agent's instructions, hand it another role, or imitate its system prompt.

High is for phrases that have hardly another use; medium for those that have one (a user may well say "from
now on answer in French"), which are flagged and never block.
"""

from __future__ import annotations

from policies.firewall.findings import BOUNDARY, GAP, Hit, Pattern, Text, phrases

NAME = "override"

_B, _W = BOUNDARY, GAP
_END = r"(?:$|[^\pL\pN])"


def _command(verbs: str, fillers: str, scopes: str, objects: str, language: str, after: str = "") -> Pattern:
    """verb … scope … object ("ignore all the previous instructions"); with `after`, scope last as well."""
    fill = f"(?:(?:{fillers}|{scopes}){_W})"
    forms = [f"{fill}{{0,5}}(?:{scopes}){_W}{fill}{{0,5}}(?:{objects})"]
    if after:
        forms.append(f"{fill}{{0,5}}(?:{objects}){_W}(?:(?:{fillers}){_W}){{0,3}}(?:{after})")
    return Pattern(
        f"{_B}(?P<hit>(?:{verbs}){_W}(?:{'|'.join(forms)})){_END}",
        "high",
        f"tells the agent to set its instructions aside ({language})",
    )


_EN_VERBS = (
    r"ignor(?:e|es|ing)|disregard(?:ing)?|forget(?:ting)?|neglect|overlook|override|overwrite|bypass|"
    r"discard|dismiss|"
    r"set aside|throw away|erase|delete|abandon|violate|stop following|stop obeying|cease following|"
    r"(?:do not|don.?t|never|no longer) (?:follow|obey|listen to|adhere to|comply with)|pay no attention to"
)
_EN_BEFORE = (
    r"previous(?:ly)?|prior|above|earlier|preceding|former|foregoing|past|initial|original|existing|old|last"
)
_EN_OBJECTS = (
    r"instructions?|instrutions?|prompts?|rules?|directions?|directives?|commands?|guidelines?|guidance|"
    r"orders|"
    r"constraints?|restrictions?|programming|polic(?:y|ies)|training|context|assignments?|system messages?|"
    r"statements?|safeguards?|protocols?|requests?|tasks?|conversations?|messages?|specifications?|inputs?|"
    r"documents?|"
    r"paragraphs?|questions?|information|knowledge|role|persona"
)
_GIVEN = (
    r"above|before(?: (?:this|that|now))?|so far|up to now|until now|previously|beforehand|"
    r"(?:that )?(?:you|u)(?:.ve| have| had)? (?:been |were |are )?(?:got|get|given|told|received|taught|"
    r"programmed)"
)

_ENGLISH = (
    _command(
        _EN_VERBS,
        r"about|of|the|any|these|those|this|that|my|our|other|and|or|single|given|current|set|to|from|for|in|"
        r"content|text|moderation|ethical|safety|usage|system|developer|openai.?s?|default|standard|"
        r"built.?in|"
        r"following|me|s|strictly|completely|entirely|whatever|contents?|all|every|each|them",
        rf"{_EN_BEFORE}|all (?:of )?(?:the|your|my|our|these|those|previous|prior|other)|all|every|your|"
        rf"everything",
        _EN_OBJECTS,
        "English",
        after=_GIVEN,
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:ignore|disregard|forget|discard|erase|override){_W}(?:about{_W}|please{_W})?"
        rf"(?:everything|anything|all|whatever|what|all of that|the (?:text|content|words?|stuff|part)s?){_W}"
        rf"(?:(?:that|which|was|is|has|been|i|we|they|you|it|of|this|said|written|stated|mentioned|have|"
        rf"told|us|me|"
        rf"to|come|came|from|in|the|were|discussed){_W}){{0,5}}"
        rf"(?:above|before|beforehand|previously|so far|prior|preceding|earlier|told|taught|instructed|"
        rf"learned|learnt|"
        rf"know|discussed))",
        "high",
        "tells the agent to set everything before aside (English)",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:ignore|disregard|forget|discard){_W}(?:all{_W}|the{_W}|everything{_W}){{0,2}}"
        rf"(?:above|previous|preceding|foregoing)(?:{_W}(?:and|then|but|instead|now|text|content)|"
        rf"\s*[.,;:!]))",
        "high",
        "tells the agent to set everything before aside (English)",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:forget|ignore|disregard){_W}(?:about{_W})?(?:everything|all of (?:that|this))"
        rf"(?:{_W}(?:and|then|else and|now)|\s*[.,;!]){_W}?(?:just|now|only|instead|say|tell|write|do|"
        rf"answer|listen|you))",
        "high",
        "tells the agent to set everything before aside (English)",
    ),
    Pattern(
        r"(?:^|\n|[.!?#*>=\-]\s{0,3})(?P<hit>(?:here (?:is|are) (?:your|the|my) )?"
        r"(?:new|updated|revised|real|actual) (?:system )?"
        r"(?:instructions?|prompts?|directives?|role|orders?)\s{0,3}[:=])",
        "medium",
        "announces new instructions",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:strictly|only|solely|exclusively|instead|immediately|must){_W}"
        rf"(?:(?:you|should|must|please|now){_W}){{0,2}}(?:follow|obey|adhere to|execute|comply with|"
        rf"carry out){_W}"
        rf"(?:only{_W})?(?:the following|these|my|this|the new|the next)(?:{_W}new)?{_W}"
        rf"(?:instructions?|commands?|orders?|directives?|tasks?))",
        "high",
        "puts other instructions in the place of the agent's own",
    ),
)

_ROLE = (
    Pattern(
        rf"{_B}(?P<hit>do anything now|developer mode (?:enabled|on|output|v2)|(?:jailbreak(?:ed)?|god|dan|"
        rf"opposite) mode|"
        rf"(?:enable|enter|activate|switch to|simulate)(?:{_W}[\pL]+){{0,3}}{_W}(?:developer|jailbreak|dan|"
        rf"god|debug|unrestricted|"
        rf"sudo) mode)",
        "high",
        "names a known jailbreak mode",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:you(?:.re| are)?|act|acts|acting|role.?play|pretend|behave|respond|answer|reply|"
        rf"persona|ai|model|"
        rf"character|chatbot|assistant|bot)(?:{_W}[\pL\pN]+){{0,12}}{_W}"
        rf"(?:without|free (?:from|of)|no longer (?:bound|restricted|limited)(?: by)?|not (?:bound|"
        rf"restricted|limited|"
        rf"constrained|subject)(?: by| to)?|unbound(?:ed)? by|no|lacks?|ignor(?:es|ing)|unrestricted by){_W}"
        rf"(?:(?:any|all|the|of|its|their|your|openai.?s?|moral|ethical|legal|content|safety|and|or|usage|"
        rf"standard|typical|"
        rf"such|kind|whatsoever){_W}){{0,7}}"
        rf"(?:restrictions?|filters?|limitations?|constraints?|censorship|guidelines?|ethics|morals?|"
        rf"morality|polic(?:y|ies)|"
        rf"rules|boundaries|safeguards?|principles))",
        "high",
        "hands the agent a role without its rules",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:an? |the )?(?:unfiltered|uncensored|amoral|unethical|unrestricted|unhinged|"
        rf"immoral){_W}"
        rf"(?:(?:and|or|completely|totally|unfiltered|uncensored|amoral|unethical|immoral|unrestricted|"
        rf"evil){_W}){{0,4}}"
        rf"(?:ai|a\.i\.|chatbot|bot|assistant|language model|llm|persona|response|answer|entity|version))",
        "high",
        "hands the agent a role without its rules",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:from now on|from this (?:moment|point) (?:on|onwards?|forward)|starting now|"
        rf"henceforth){_W}"
        rf"(?:(?:you|u){_W}(?:are|will|must|shall|should|have|can|re)|act|answer|respond|embody|ignore|"
        rf"forget|your))",
        "medium",
        "changes how the agent behaves from here on",
    ),
    Pattern(
        rf"{_B}(?P<hit>you(?:.re| are) (?:now|no longer) (?:going to |an? |the |in )?[\pL]+)",
        "medium",
        "hands the agent another role",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:pretend|imagine|act|behave|respond|answer)(?:{_W}(?:that|to be|as|if|though|"
        rf"like)){{0,3}}{_W}"
        rf"(?:you(?:.re| are){_W})?(?:an? )?(?:evil|malicious|rogue|hacked|dan|"
        rf"jailbroken)(?:{_W}[\pL]+){{0,2}})",
        "medium",
        "hands the agent a hostile role",
    ),
)

_MARKS = (
    Pattern(
        r"(?P<hit><\|(?:im_start|im_end|system|user|assistant|start_header_id|end_header_id|eot_id|"
        r"endoftext|begin_of_text)\|>"
        r"|<</?SYS>>|\[/?INST\]|<start_of_turn>|<end_of_turn>)",
        "high",
        "imitates the markers between messages of a model",
    ),
    Pattern(
        r"(?:^|\n)\s{0,8}(?P<hit>#{0,4}\s{0,2}(?:\[system\]|<system>|system (?:prompt|message|override|"
        r"instructions?))\s{0,2}[:>\]\n(])",
        "medium",
        "imitates a system message",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:if|since|when|attention|note|message|instructions?)(?:{_W}(?:to|for|you(?:.re|"
        rf" are)?|an?|the|any|all|"
        rf"is|reading|this|important|note)){{0,5}}{_W}(?:ai|artificial intelligence|language model|llm|"
        rf"ai assistant|"
        rf"ai agent|chatbot|chatgpt)s?(?:{_W}(?:agent|assistant|model|system)s?)?"
        rf"(?:{_W}(?:that|who|which|is|are|reading|processing|summari[sz]ing|handling|this)|\s*[:,]))",
        "medium",
        "speaks to a model that reads the text",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:do not|don.?t|never|without){_W}(?:mention(?:ing)?|tell(?:ing)?|inform(?:ing)?|"
        rf"notify(?:ing)?|"
        rf"reveal(?:ing)?|alert(?:ing)?|ask(?:ing)?)(?:{_W}(?:this|that|it|anything|of|about|to|"
        rf"any)){{0,4}}{_W}the{_W}user)",
        "medium",
        "tells the agent to keep something from the user",
    ),
)

_OTHER_LANGUAGES = (
    _command(
        r"ignoriere?n?(?: sie)?|vergiss|vergesst|vergessen sie|missachte?|missachten sie|verwirf|"
        r"verwerfen sie|"
        r"übergehe|überschreibe|(?:beachte|befolge) nicht(?: mehr)?",
        r"bitte|die|den|das|der|dir|dich|mir|nun|jetzt|einfach|und|oder|von|aus|an|diese[nrs]?|gegebenen?|"
        r"anderen?|jegliche[nr]?",
        r"alle[nrs]?|alles|sämtliche[nr]?|deine[nr]?|ihre[nr]?|vorherige[nr]?|vorige[nr]?|bisherige[nr]?|"
        r"obige[nr]?|"
        r"vorangegangene[nr]?|vorhergehende[nr]?|frühere[nr]?|vorangehende[nr]?|ursprüngliche[nr]?|davor|"
        r"vorher",
        r"anweisung(?:en)?|instruktion(?:en)?|aufgaben?|aufgabenstellung|befehle?n?|regeln?|vorgaben?|"
        r"anordnung(?:en)?|"
        r"prompts?|aufträgen?|richtlinien|eingaben?|texte?|informationen|angaben|kontext|gesagte[ns]?|"
        r"nachrichten",
        "German",
        after=r"davor|vorher|zuvor|oben|bisher|die du (?:bekommen|erhalten)",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:vergiss|vergessen sie|ignoriere?n?(?: sie)?){_W}(?:bitte{_W}|nun{_W}|"
        rf"jetzt{_W})?(?:alles|das|was)"
        rf"(?:{_W}(?:was|ich|du|dir|wir|mir|je|jemals|bisher)){{0,4}}{_W}"
        rf"(?:davor|vorher|zuvor|bisher|gelernt|gesagt|obige|vorherige|oben|bisherige|vorangegangene|weißt))",
        "high",
        "tells the agent to set everything before aside (German)",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:alle|die|deine|ihre|sämtliche){_W}(?:vorherigen|vorangegangenen|obigen|bisherigen|"
        rf"früheren|vorigen){_W}"
        rf"[\pL]+(?:{_W}[\pL]+){{0,4}}{_W}(?:zu{_W})?(?:ignorieren|vergessen|missachten|verwerfen|"
        rf"streichen))",
        "high",
        "tells the agent to set everything before aside (German)",
    ),
    _command(
        r"ignor[ae](?:r|d)?|olvid[ae](?:r|d|te de)?|olvídate de|descart[ae]|desestim[ae]|omite|"
        r"ha[zg]a? caso omiso (?:de|a)|no hagas? caso (?:de|a)|pasa por alto|no sigas",
        r"por|favor|las|los|la|el|lo|de|a|y|que|estas?|estos|dadas|otras",
        r"tod[oa]s?|tus?|sus|mis|cualquier|anteriores|anterior|previ[oa]s?|pasadas",
        r"instrucci(?:ones|ón)|[oó]rdenes|reglas|indicaciones|directrices|tareas?|mensajes?|comandos|normas|"
        r"restricciones",
        "Spanish",
        after=r"anteriores|anterior|previ[oa]s?|de (?:arriba|antes)|dadas|que (?:te|le) (?:di|dieron)",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:olvida|olvide|ignora|ignore){_W}todo{_W}(?:lo|el){_W}(?:que|anterior|previo|de))",
        "high",
        "tells the agent to set everything before aside (Spanish)",
    ),
    _command(
        r"ignore[rz]?|ignores|oublie[rz]?|oublies|néglige[rz]?|neglige[rz]?|ne (?:tiens|tenez) (?:pas|"
        r"plus) compte (?:des?|du)|"
        r"fai(?:s|tes) abstraction (?:des?|du)|n.écoute[zs]? (?:pas|plus)|ne (?:suis|suivez) (?:pas|plus)",
        r"les|la|le|l|de|des|ces|et|que|à|aux|autres|données|s.il (?:te|vous) plaît",
        r"toute?s?|tous|tes|vos|mes|précédente?s?|precedente?s?|antérieure?s?|ci.dessus|initiales",
        r"instructions?|consignes?|ordres|r[eè]gles|directives?|t[aâ]ches?|messages?|commandes?|indications|"
        r"contraintes",
        "French",
        after=r"précédente?s?|precedente?s?|antérieure?s?|ci.dessus|d.avant|données|reçues|initiales",
    ),
    Pattern(
        rf"{_B}(?P<hit>(?:oublie[zs]?|ignore[zs]?){_W}tout{_W}(?:ce{_W}(?:qui|que|qu)|le{_W}reste{_W}avant|"
        rf"avant))",
        "high",
        "tells the agent to set everything before aside (French)",
    ),
    _command(
        r"ignora(?:te|re)?|dimentica(?:te|re|ti)?|trascura|scorda(?:ti)?|non seguire",
        r"le|i|gli|la|il|di|e|che|queste|questi|per favore",
        r"tutt[eio]|tue|tuoi|precedent[ei]|vostre|qualsiasi",
        r"istruzion[ei]|ordini|regole|indicazioni|comandi|direttive",
        "Italian",
        after=r"precedenti|di prima|qui sopra|ricevute|date",
    ),
    _command(
        r"ignor[ae]r?|esque[cç]a(?: de)?|esquece|desconsider[ae]|desobedeça",
        r"as|os|a|o|de|e|que|estas|por favor",
        r"tod[ao]s?|tuas|suas|anteriores|prévias|quaisquer",
        r"instruç(?:ões|ão)|instrucoes|ordens|regras|diretrizes|comandos|orientações|tarefas|mensagens",
        "Portuguese",
        after=r"anteriores|acima|prévias|dadas|recebidas",
    ),
    _command(
        r"negeer|vergeet|sla over|volg niet",
        r"de|het|van|en|die|deze|nu|maar",
        r"alle|al|je|jouw|uw|vorige|voorgaande|eerdere|bovenstaande",
        r"instructies?|opdracht(?:en)?|regels|bevelen|aanwijzingen|berichten",
        "Dutch",
        after=r"hierboven|hiervoor|eerder|tot nu toe",
    ),
    _command(
        r"игнорируй(?:те)?|проигнорируй(?:те)?|забудь(?:те)?|не следуй(?:те)?|отбрось(?:те)?",
        r"о|об|про|эти|и|пожалуйста",
        r"все|всё|всех|предыдущие|прошлые|прежние|твои|свои|ваши|вышеуказанные",
        r"инструкции|инструкциям|указания|правила|команды|задания|сообщения|подсказки",
        "Russian",
        after=r"выше|ранее|до этого",
    ),
    _command(
        r"zanemari(?:te)?|ignori[rš][aiu]j?(?:te)?|zaboravi(?:te)?",
        r"na|o|i|te|ove",
        r"sve|prethodne|ranije|svoje|tvoje|dosadašnje",
        r"instrukcije|upute|uputstva|naredbe|pravila|naloge",
        "Serbo-Croatian",
        after=r"iznad|ranije|do sada",
    ),
    Pattern(
        r"(?P<hit>(?:忽略|无视|忘记|忽視|無視|忘掉|不要理会)(?:所有|之前|以上|上述|先前|前面|此前|你|的|一切|全部|任何|掉|收到){1,6}"
        r"(?:指令|指示|说明|規則|规则|提示词?|内容|內容|命令|要求|对话)"
        r"|(?:以前|これまで|上記|前|今まで|すべて)の(?:すべての|全ての)?(?:指示|命令|ルール|プロンプト)を(?:すべて|全て)?(?:無視|忘れ)"
        r"|(?:이전|위의?|앞의?)\s?(?:모든\s?)?(?:지시|명령|지침)(?:사항)?[을를]?\s?(?:모두\s?)?(?:무시|잊))",
        "high",
        "tells the agent to set its instructions aside (Chinese, Japanese or Korean)",
    ),
)

PATTERNS = (*_ENGLISH, *_ROLE, *_MARKS, *_OTHER_LANGUAGES)


def detect(text: Text) -> list[Hit]:
    return phrases(NAME, text, PATTERNS)
