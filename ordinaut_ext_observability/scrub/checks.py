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

# Lengths of account numbers, with their countries. Source: SWIFT, IBAN Registry.
_IBAN_LENGTHS = {
    country: group[:2]
    for group in re.findall(
        r"\w+",
        "15NO 16BE 18DKFIFKFOGLNLSD 19MKSI 20ATBAEEKZLTLUMNXK 21CHHRLILV 22BGBHCRDEGBGEIEMERSVA 23AEGIILIQOMSOTL "
        "24ADCZESMDPKROSASESKTNVG 25LYPTST 26ISTR 27BIDJFRGRITMCMRSM 28ALAZBYCYDOGTHNHULBNIPLSV 29BREGPSQAUA "
        "30JOKWMUYE 31MTSC 32LC 33RU",
    )
    for country in re.findall("[A-Z]{2}", group)
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
    if _IBAN_LENGTHS.get(number[:2]) != str(len(number)):
        return False
    return int("".join(str(int(letter, 36)) for letter in number[4:] + number[:4])) % 97 == 1


def is_random(text: str) -> bool:
    """True for what is no word: it has a digit, or capitals after small letters."""
    return any(map(str.isdigit, text)) or not (text.islower() or text.isupper() or text.istitle())
