"""Numbers that prove themselves: payment cards and bank accounts have check digits, and begin as their issuers'."""

from __future__ import annotations

import re

# Issuers by the first digits, with the lengths of their numbers: Visa, Mastercard, American Express, Discover, JCB,
# Diners Club, UnionPay. Source: ISO/IEC 7812, https://en.wikipedia.org/wiki/Payment_card_number
_CARD = re.compile(
    r"4\d{15}|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
    r"|(?:6011|64[4-9]\d|65\d\d|35(?:2[89]|[3-8]\d))\d{12}|3(?:0[0-5]|[689]\d)\d{11}|62\d{14,17}"
)
_SUM_WHEN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

# Lengths of account numbers by country. Source: SWIFT, IBAN Registry.
_IBAN_LENGTHS = {
    entry[:2]: int(entry[2:])
    for entry in re.findall(
        r"\w{4}",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
        "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
        "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
        "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 "
        "YE30",
    )
}


def is_card(text: str) -> bool:
    """True for the number of a payment card, spaces and hyphens left out: an issuer's, with Luhn's check digit."""
    digits = text.replace(" ", "").replace("-", "")
    if not _CARD.fullmatch(digits):
        return False
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(_SUM_WHEN_DOUBLED[number] for number in numbers[1::2])) % 10 == 0


def is_iban(text: str) -> bool:
    """True for an account number: of its country's length, and 1 modulo 97 with letters as numbers (ISO 13616)."""
    number = text.replace(" ", "")
    if _IBAN_LENGTHS.get(number[:2]) != len(number):
        return False
    return int("".join(str(int(letter, 36)) for letter in number[4:] + number[:4])) % 97 == 1


def is_phone(text: str) -> bool:
    """True for as many digits as a telephone number has: 8 to 15 (E.164)."""
    return 8 <= sum(map(str.isdigit, text)) <= 15


def is_random(text: str) -> bool:
    """True for what is no word: it has a digit, or capitals after small letters."""
    return any(map(str.isdigit, text)) or not (text.islower() or text.isupper() or text.istitle())
