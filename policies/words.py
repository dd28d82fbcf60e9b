"""Words that tell what a tool does, for `proposing`. Verbs in the infinitive, nouns in the singular without
a final s, as `records.words` gives them. A word belongs here if it says the same of any product's tools.
"""

from __future__ import annotations


def _set(text: str) -> frozenset[str]:
    return frozenset(word.removesuffix("s") or word for word in text.split())


EFFECTS = ("read", "write", "destructive")
_READ = _set(
    "get list search find read fetch show view lookup check query describe count browse retrieve return "
    "look inspect preview whoami calculate compute convert translate summarize validate compare "
    "watch see download scan analyze estimate detect classify visit"
)
_WRITE = _set(
    "create add update set edit append post send share invite publish write upload insert schedule make "
    "put reschedule rename move copy assign comment reply label mark save star subscribe follow "
    "register draft forward notify email mail message tweet attach open enable start upsert patch "
    "modify change generate upgrade accept complete submit import sync tag pin archive log record select"
)
_DESTRUCTIVE = _set(
    "delete remove cancel drop purge destroy erase wipe revoke terminate kill reset transfer pay buy "
    "purchase order book reserve refund withdraw charge trade sell approve merge deploy rollback "
    "overwrite shutdown stop disable ban evict unlock execute run exec eval grant uninstall close "
    "restore reboot restart clear empty block deactivate reject wire checkout rent exchange unsubscribe "
    "replace rotate flush trash"
)
EFFECT = {
    **dict.fromkeys(_READ, "read"),
    **dict.fromkeys(_WRITE, "write"),
    **dict.fromkeys(_DESTRUCTIVE, "destructive"),
}
# Words that are hardly ever nouns: wherever one stands in a name, the tool does it.
PLAIN_VERBS = _set(
    "delete remove create update send destroy purge erase drop wipe revoke terminate kill pay buy "
    "execute add insert edit modify overwrite disable replace publish upload append invite uninstall "
    "cancel reset restart reboot shutdown rotate approve reject deactivate unsubscribe withdraw rename "
    "restore evict ban unlock exec eval submit enable stop clear archive"
)
# After one of these words comes what the tool does as well: fetch_and_forward.
AND = _set("and then or")
# With these verbs an argument that names a file says where to write it.
FETCHING = _set("download export save convert")
OUTPUT = _set("output out outfile dest destination save")
PLACE = _set("path file filename folder directory dir location")
# Who may write one of these may do anything with it, whatever the verb.
CODE = _set("sql command cmd code script statement shell")
# And may send anything anywhere with one of these.
RUNNING = _set("command cmd code script shell")
STORES = _set("sql database db table warehouse")
REQUEST = _set("method body payload data header")
# With one of these even a harmless verb is hard to undo.
GRAVE = _set(
    "money payment transaction fund payout password credential permission role access iban billing "
    "invoice balance loan stock subscription refund wallet crypto production firewall dns"
)
AUTHORITY = _set(
    "recipient recipients to cc bcc email mail address addresse addres iban account payee beneficiary "
    "vendor supplier merchant path file filename folder directory dir url uri link href host hostname "
    "domain endpoint ip id ids uid uuid guid identifier user username userid person people participant "
    "attendee member assignee owner customer client contact phone mobile channel chat room group team "
    "repo repository branch project workspace password key table database db schema sql command cmd "
    "code script target destination dest receiver device door name title webhook bucket organization "
    "org"
)
TEXT = _set(
    "body content text message subject description comment note summary markdown html caption reason "
    "prompt review feedback memo bio"
)
TIME = _set("date day time start end hour minute month year deadline due until since from timezone duration")
MEASURE = _set("amount quantity count number n limit page offset size recurring priority format sort rating")
WEB = _set("url uri webpage website web http https internet browser webhook")
SENDING = _set(
    "send share invite post publish email mail forward notify tweet message reply comment transfer pay "
    "wire broadcast announce submit upload sms call dm"
)
RECEIVERS = _set(
    "recipient to cc bcc email participant attendee receiver payee beneficiary iban phone webhook "
    "destination channel remote bucket server host hostname endpoint domain"
)
# Arguments that say which host is asked, and arguments that only say what for.
HOSTS = _set("host hostname domain endpoint href link site server")
QUERY = _set("query q term keyword search question topic")
ORDERING = _set(
    "order book buy purchase reserve pay rent checkout trade sell charge refund withdraw exchange"
)
LOCAL = _set(
    "file folder note reminder todo calendar event password contact setting draft profile bookmark "
    "label alarm timer preference document directory user info"
)
# What a clock or a meter says.
PLAIN = _set("time date day datetime timestamp timezone clock balance version uuid iban weekday")
PRIVATE = _set(
    "email mail inbox message file document drive calendar event contact transaction account balance "
    "user profile note chat customer order patient health salary appointment invoice history ticket "
    "conversation photo location employee member direct dm crm record"
)
SECRET = _set("password secret credential passport token ssn apikey")
