"""Names of secrets, told by their words: `author` is not `auth`, `tokens_used` is not `token`."""

from __future__ import annotations

import re
from functools import lru_cache

NAME_NEEDS = "pass pw secret token cred auth cookie jwt dsn signature csrf xsrf otp cvv cvc ssn sessionid key"
NAME_PARTS = f"(?:{NAME_NEEDS.replace(' ', '|')})"
"""Texts of which the name of every secret has one, in any case; as a list and as a pattern."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# Ends of a word that make a name a secret's, wherever the word stands: PGPASSWORD, client_secret, password_hash.
_ANYWHERE = ("password", "passwd", "passphrase", "passcode", "pwd", "secret", "credential", "authorization", "cookie")
# The same, where it is the last word: access_token, accessToken, auth; but not token_type.
_LAST = ("token", "apikey", "accesskey", "secretkey", "privatekey", "jwt", "signature", "sessionid")
_LAST_ALONE = {"auth", "cred", "dsn", "pass", "pw", "csrf", "xsrf", "otp", "cvv", "cvc", "ssn"}
_KEYS_OF = {"api", "access", "account", "private", "secret", "signing", "encryption", "shared", "master", "ssh"}
# Last words that say the name is about the form of a secret, and not of the secret itself.
_FORM = {"value", "raw", "plain", "hash", "header", "text", "string", "old", "new", "confirm", "encoded"}
# Last words of what is told about a secret.
_ABOUT = {
    *("age", "at", "changed", "count", "enabled", "endpoint", "expires", "expiry", "field", "file", "id", "in", "len"),
    *("length", "limit", "max", "min", "name", "path", "policy", "present", "required", "reset", "status", "strength"),
    *("ttl", "type", "uri", "url", "used", "valid", "version"),
}


@lru_cache(2048)
def is_secret(name: str) -> bool:
    """True where what stands under this name is a secret."""
    words = [word.lower() for word in _WORD.findall(name[:200])]
    while words and (words[-1].isdigit() or words[-1] in _FORM):
        words.pop()
    if not words or words[-1] in _ABOUT:
        return False
    if any(word.removesuffix("s").endswith(_ANYWHERE) for word in words):
        return True
    *before, last = words
    if last == "tokens" and before:  # max_tokens, tokens of a model
        return before[-1] in ("access", "refresh", "auth", "api")
    last = last.removesuffix("s") if last != "pass" else last
    return last.endswith(_LAST) or last in _LAST_ALONE or (last == "key" and not _KEYS_OF.isdisjoint(before[-1:]))
