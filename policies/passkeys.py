"""Passkeys of people: registering one, recognising whoever shows one, and taking one away.

The server keeps public keys only. A registration is an entry of the log under the site's own key, so that it
stays readable, and provable to others, for as long as votes rest on it; it names the person by id alone.

Source: WebAuthn Level 3. `fido2` reads what a browser sends for a registration; what a passkey signs is
checked by `traces.passkeys`, here with the signatures of `cryptography`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from fido2.cose import ES256, RS256, CoseKey, EdDSA
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestationConveyancePreference,
    AuthenticatorData,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from policies.access import actor
from policies.factor_models import Passkey
from policies.models import User
from traces import clean, passkeys, record, seal, signed
from traces.models import Entry
from traces.problems import Refused
from traces.signatures import Invalid, base64url, unbase64url

MOST = 20
# What a garbled answer of a browser makes the parsers raise.
GARBLED = (ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError, RecursionError)
# By preference: small keys first; RSA is what some computers' built-in passkeys have.
ALGORITHMS = (ES256.ALGORITHM, EdDSA.ALGORITHM, RS256.ALGORITHM)
SYNCED = 0x10  # the flag BS of WebAuthn Level 3 §6.1.3


@dataclass(frozen=True)
class Site:
    """For which site passkeys are made: a host name. `why_not` says why there can be none; else empty."""

    rp_id: str
    why_not: str = ""


def site() -> Site:
    """The site as its own address says it. A passkey belongs to a name, so an address of numbers has none,
    except that loopback is `localhost`.
    """
    parts = urlsplit(settings.AGENTSEC_URL)
    host = parts.hostname or ""
    with suppress(ValueError):  # a name is no address, and stays
        host = "localhost" if ip_address(host).is_loopback else ""
    if not host:
        return Site("", "This site is reached by an IP address, and passkeys belong to a host name.")
    if parts.scheme != "https" and host != "localhost":
        return Site("", "Passkeys need https: this site is reached without.")
    return Site(host)


def offer(user: User) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a browser needs to make a passkey, as JSON, and the state to keep until it answers.

    Raises Refused("unavailable") where the site can have none, ("conflict") for one too many.
    """
    known = list(user.passkeys.all())
    if len(known) >= MOST:
        raise Refused("conflict", f"You have {MOST} passkeys: remove one first.")
    handle = known[0].handle if known else base64url(secrets.token_bytes(32))
    person = PublicKeyCredentialUserEntity(
        id=unbase64url(handle), name=user.username, display_name=user.username
    )
    options, state = _server().register_begin(
        person,
        [_descriptor(each) for each in known],
        resident_key_requirement=ResidentKeyRequirement.REQUIRED,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return dict(options), {"challenge": state["challenge"], "handle": handle}


def register(*, user: User, state: Mapping[str, Any], answer: str, name: str) -> Passkey:
    """Keep the passkey that the browser made. `state` is what `offer` gave; the caller forgets it.

    Appends `person.passkey_added`. Raises Refused: invalid, conflict (known already), unavailable.
    """
    name = clean.storable(name).strip()[:100]
    if not name:
        raise Refused("invalid", "Give the passkey a name, such as the device that it is on.")
    data, transports = _registered(state, answer)
    credential = data.credential_data
    if credential is None:
        raise Refused("invalid", "The browser sent no passkey.")
    about = {"credential": base64url(credential.credential_id), "key": _jwk(credential.public_key)}
    with transaction.atomic():
        # Two registrations of one person at once would both be the first.
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if Passkey.objects.filter(credential=about["credential"]).exists():
            raise Refused("conflict", "This passkey is registered already.")
        held = {"user": actor(user), "rp_id": site().rp_id, **about}
        entry = record.append(
            kind=signed.ADDED, actor=actor(user), subject=record.SITE, body=held, title="A passkey was added"
        )
        return Passkey.objects.create(
            user=user, name=name, handle=str(state["handle"]), rp_id=site().rp_id, entry=entry.uuid,
            transports=transports, synced=bool(int(data.flags) & SYNCED), count=data.counter, **about,
        )  # fmt: skip


def usable(user: User) -> list[Passkey]:
    """This person's passkeys for the site's name as it is now: under another name none can be shown."""
    return list(user.passkeys.filter(rp_id=site().rp_id))


def ask(user: User | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a browser needs to sign in by a passkey (of this person, where known), and the state to keep.

    Raises Refused("unavailable").
    """
    challenge = secrets.token_bytes(32)
    return request(challenge, user=user), {"challenge": base64url(challenge)}


def request(challenge: bytes, *, user: User | None = None) -> dict[str, Any]:
    """Ask a browser for a signature of this challenge, as JSON."""
    known = [] if user is None else [_allowed(each) for each in usable(user)]
    return {
        "publicKey": {
            "challenge": base64url(challenge), "rpId": _rp_id(), "userVerification": "required",
            "allowCredentials": known,
        }
    }  # fmt: skip


def recognise(*, challenge: bytes, answer: str, user: User | None = None) -> tuple[Passkey, dict[str, str]]:
    """The passkey that signed this challenge, and its signature as the log keeps it; counts the use.

    `user`: whose it has to be, where that is known. Locks the passkey. Raises Refused("forbidden") for any
    other, and for a signature that does not hold.
    """
    try:
        said = json.loads(answer)
        response = said["response"]
        signature = {
            "credential": said["id"], "client_data": response["clientDataJSON"],
            "authenticator_data": response["authenticatorData"], "signature": response["signature"],
        }  # fmt: skip
        handle = response.get("userHandle")
    except GARBLED:
        raise Refused("invalid", "The browser sent no signature of a passkey.") from None
    with transaction.atomic():
        rows = Passkey.objects.select_for_update(of=("self",)).select_related("user")
        rows = rows.filter(credential=clean.storable(str(signature["credential"])), rp_id=_rp_id())
        found = (rows if user is None else rows.filter(user=user)).first()
        if found is None or (handle and handle != found.handle):
            raise Refused("forbidden", "This passkey is not known here.")
        try:
            passkeys.check(signature, passkey=held(found), wanted=challenge, valid=valid)
        except Invalid as error:
            raise Refused("forbidden", f"The passkey's signature does not count: {error}.") from None
        _use(found, unbase64url(signature["authenticator_data"]))
    return found, signature


def held(passkey: Passkey) -> passkeys.Passkey:
    """A passkey as whoever checks its signatures takes it."""
    return passkeys.Passkey(f"user:{passkey.user_id}", passkey.credential, passkey.key, passkey.rp_id)


def rename(*, user: User, passkey_id: int, name: str) -> Passkey:
    """Raises Refused: not_found, invalid."""
    passkey, name = _own(user, passkey_id), clean.storable(name).strip()[:100]
    if not name:
        raise Refused("invalid", "Give the passkey a name, such as the device that it is on.")
    passkey.name = name
    passkey.save(update_fields=["name"])
    return passkey


def remove(*, user: User, passkey_id: int, by: str) -> Passkey:
    """Forget a passkey. Appends `person.passkey_removed`; votes that it signed before stay signed, and
    start nothing any more.

    Raises Refused("not_found").
    """
    with transaction.atomic():
        passkey = _own(user, passkey_id)
        body = {"user": actor(user), "passkey": str(passkey.entry), "credential": passkey.credential}
        title = "A passkey was removed"
        record.append(kind=signed.REMOVED, actor=by, subject=record.SITE, body=body, title=title)
        passkey.delete()
    return passkey


def registered() -> list[dict[str, Any]]:
    """Every passkey that the log says was registered, removed ones too, as an auditor pins them: with the
    person's name as it is now. Entries that were altered are left to `verify` to name.
    """
    names = {actor(user): user.username for user in User.objects.all()}
    found = []
    for entry in Entry.objects.filter(kind=signed.ADDED).select_related("subject_key").order_by("pk"):
        with suppress(seal.Tampered):
            body = record.open_payload(entry)
            if isinstance(body, record.Erased):
                continue
            held = {name: body.get(name) for name in ("user", "credential", "key", "rp_id")}
            about = {
                "name": names.get(str(held["user"]), ""),
                "entry": str(entry.uuid),
                "at": entry.at.isoformat(),
            }
            found.append({**held, **about})
    return found


def valid(key: Mapping[str, Any], message: bytes, signature: bytes) -> bool:
    """As `traces.signatures.valid`, by the library."""
    try:
        public = _public(key)
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, message, ec.ECDSA(SHA256()))
        elif isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, message, padding.PKCS1v15(), SHA256())
        else:
            public.verify(signature, message)
    except (InvalidSignature, ValueError, KeyError):
        return False
    return True


def _public(
    key: Mapping[str, Any],
) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey:
    """Raises ValueError or KeyError for what is no key."""
    if key["kty"] == "EC":
        return ec.EllipticCurvePublicNumbers(
            _number(key["x"]), _number(key["y"]), ec.SECP256R1()
        ).public_key()
    if key["kty"] == "RSA":
        return rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
    return ed25519.Ed25519PublicKey.from_public_bytes(unbase64url(key["x"]))


def _number(text: str) -> int:
    return int.from_bytes(unbase64url(text), "big")


def _jwk(key: CoseKey) -> dict[str, str]:
    """A COSE key (RFC 9053) as JSON Web Key. Raises Refused("invalid") for kinds that nobody asked for."""
    if key.get(3) == ES256.ALGORITHM:
        named = {"kty": "EC", "crv": "P-256", "x": base64url(key[-2]), "y": base64url(key[-3])}
    elif key.get(3) == EdDSA.ALGORITHM:
        named = {"kty": "OKP", "crv": "Ed25519", "x": base64url(key[-2])}
    elif key.get(3) == RS256.ALGORITHM:
        named = {"kty": "RSA", "n": base64url(key[-1]), "e": base64url(key[-2])}
    else:
        raise Refused("invalid", "The passkey has a kind of key that is not known here.")
    try:
        _public(named)
    except ValueError:
        raise Refused("invalid", "The passkey's public key is none.") from None
    return named


def _registered(state: Mapping[str, Any], answer: str) -> tuple[AuthenticatorData, list[str]]:
    wanted = {"challenge": state["challenge"], "user_verification": UserVerificationRequirement.REQUIRED}
    try:
        said = json.loads(answer)
        data = _server().register_complete(wanted, said)
        named = said["response"].get("transports") or []
        return data, [str(each)[:20] for each in named[:8]]
    except GARBLED as error:
        raise Refused("invalid", f"The browser's passkey cannot be used: {error}") from None


def _use(passkey: Passkey, data: bytes) -> None:
    """A counter that does not grow says that there is a copy; passkeys without one always say 0."""
    count = int.from_bytes(data[33:37], "big")
    if (count or passkey.count) and count <= passkey.count:
        raise Refused("forbidden", "This passkey was used elsewhere since, as a copy would be: remove it.")
    Passkey.objects.filter(pk=passkey.pk).update(count=count, last_used_at=timezone.now())


def _own(user: User, passkey_id: int) -> Passkey:
    passkey = Passkey.objects.select_related("user").filter(user=user, pk=passkey_id).first()
    if passkey is None:
        raise Refused("not_found", "There is no such passkey of yours.")
    return passkey


def _rp_id() -> str:
    found = site()
    if found.why_not:
        raise Refused("unavailable", found.why_not)
    return found.rp_id


def _server() -> Fido2Server:
    rp_id = _rp_id()
    server = Fido2Server(
        PublicKeyCredentialRpEntity(id=rp_id, name="agentsec"),
        attestation=AttestationConveyancePreference.NONE,
        verify_origin=lambda origin: passkeys.is_origin(origin, rp_id),
    )
    allowed = {each.alg: each for each in server.allowed_algorithms}
    server.allowed_algorithms = [allowed[algorithm] for algorithm in ALGORITHMS]
    return server


def _descriptor(passkey: Passkey) -> PublicKeyCredentialDescriptor:
    return PublicKeyCredentialDescriptor(
        type=PublicKeyCredentialType.PUBLIC_KEY, id=unbase64url(passkey.credential)
    )


def _allowed(passkey: Passkey) -> dict[str, Any]:
    found = {"type": "public-key", "id": passkey.credential}
    return {**found, "transports": passkey.transports} if passkey.transports else found
