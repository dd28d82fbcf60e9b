"""Money: how much, to whom, and whether this agent ever paid them by this tool."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from approvals.payloads.parts import Call, Drawing, Figure, Kind, Past, Value, Wish, escape, leaf

AMOUNTS = ("amount", "total", "sum", "amount_cents", "price", "value")
CURRENCIES = ("currency", "currency_code", "ccy")
ACCOUNTS = ("iban", "account", "account_number", "to_account", "destination", "bank_account")
RECIPIENTS = (
    "recipient",
    "payee",
    "beneficiary",
    "creditor",
    "supplier",
    "vendor",
    "merchant",
    "to",
    "to_name",
    "name",
)
ORDER = (*AMOUNTS, *CURRENCIES, *RECIPIENTS, *ACCOUNTS, "bic", "reference", "purpose", "memo")
MOST_PAST = 50
_AMOUNT = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,8})?")
_ACCOUNT = re.compile(r"[A-Za-z]{2}[0-9]{2}[A-Za-z0-9 ]{8,40}|[0-9]{8,34}")


@dataclass(frozen=True)
class Before:
    """Earlier payments to the same recipient: how many of them, between which amounts, the last one when.

    `unseen` calls are not the reader's to see, and hold the recipient somewhere, perhaps not as who was paid.
    """

    to: str
    count: int
    least: str = ""
    most: str = ""
    last: datetime | None = None
    action: str = ""
    higher: bool = False
    more: bool = False
    unseen: int = 0


@dataclass(frozen=True)
class Payment:
    """`amount` grouped for reading; `account` in fours, `account_raw` as it stands and is copied."""

    amount: str
    currency: str
    minor: bool
    recipient: Value | None
    account: str
    account_raw: str
    check: str
    before: tuple[Before, ...]


def _fits(call: Call) -> bool:
    amount = _amount(call.args)
    return bool(amount and (call.named(CURRENCIES) or call.named(ACCOUNTS) or call.named(RECIPIENTS[:-1])))


def _wish(call: Call) -> Wish | None:
    to = tuple(text for _, text in _whom(call.args))
    return Wish(holding=to[:1], most=MOST_PAST) if to else None


def _draw(call: Call, past: Sequence[Past]) -> Drawing:
    name = _amount(call.args)
    if not name:
        return Drawing(order=ORDER)
    account = call.text(ACCOUNTS)
    raw = call.args[account] if account else ""
    before = tuple(_before(call, name, past)) if call.context.compares else ()
    recipient = call.text(RECIPIENTS)
    currency = call.text(CURRENCIES)
    payment = Payment(
        amount=grouped(_decimal(call.args[name])), currency=call.args[currency] if currency else "",
        minor=name.endswith("_cents"),
        recipient=leaf(call.args[recipient], escape(recipient), call.context) if recipient else None,
        account=in_fours(raw), account_raw=raw, check=iban_problem(raw), before=before,
    )  # fmt: skip
    return Drawing((Figure("money", payment),), ORDER)


def _amount(args: Mapping[str, Any]) -> str:
    return next((name for name in AMOUNTS if name in args and _decimal(args[name]).is_finite()), "")


def _decimal(value: Any) -> Decimal:
    """An amount; NaN for what is none. Floats by their shortest text, which is what was sent."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return Decimal("NaN")
    text = value if isinstance(value, str) else repr(value)
    try:
        return Decimal(text) if _AMOUNT.fullmatch(text) else Decimal("NaN")
    except InvalidOperation:
        return Decimal("NaN")


def grouped(amount: Decimal) -> str:
    """1250.5 → "1,250.50": whole amounts without decimals, others with at least two."""
    if amount == amount.to_integral_value():
        return f"{int(amount):,}"
    places = max(2, -int(amount.as_tuple().exponent))
    return f"{amount:,.{places}f}"


def in_fours(account: str) -> str:
    """An account number as people compare it; what is no account number stays as it is."""
    bare = account.replace(" ", "")
    if not _ACCOUNT.fullmatch(bare):
        return account
    return " ".join(bare[at : at + 4] for at in range(0, len(bare), 4))


def iban_problem(account: str) -> str:
    """What is wrong with the check digits of an IBAN (ISO 13616: mod 97 is 1); "" for what is none."""
    bare = account.replace(" ", "").upper()
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{10,30}", bare):
        return ""
    digits = "".join(str(int(character, 36)) for character in bare[4:] + bare[:4])
    return "" if int(digits) % 97 == 1 else "its check digits are wrong for an IBAN"


def _whom(args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Who is paid, the account before the name: a name is easily the same."""
    for names, word in ((ACCOUNTS, "account"), (RECIPIENTS, "recipient")):
        name = next((name for name in names if isinstance(args.get(name), str) and args[name]), "")
        if name:
            yield word, args[name]


def _before(call: Call, name: str, past: Sequence[Past]) -> Iterator[Before]:
    amount, currency = _decimal(call.args[name]), _currency(call.args)
    for word, to in list(_whom(call.args))[:1]:
        paid = [each for each in past if each.done and (word, to) in _whom(each.args)]
        unseen = sum(each.hidden for each in past)
        amounts = [_decimal(each.args.get(name)) for each in paid if _currency(each.args) == currency]
        known = [each for each in amounts if each.is_finite()]
        if not paid:
            yield Before(word, 0, unseen=unseen)
            continue
        yield Before(
            word, len(paid), grouped(min(known)) if known else "", grouped(max(known)) if known else "",
            paid[0].at, paid[0].action,
            higher=bool(known) and amount > max(known), more=len(past) >= MOST_PAST, unseen=unseen,
        )  # fmt: skip


def _currency(args: Mapping[str, Any]) -> str:
    return next((str(args[name]).upper() for name in CURRENCIES if args.get(name)), "")


KIND = Kind("money", _fits, _draw, _wish)
