"""The explanation of an alert: who was told of it, when and why, what holds it back, and when it is looked at next.

It is made of records in the store, so that any process gives it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, rfc3339
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, Told, delivery_key, repeat_after_ms
from ordinaut_ext_observability.alerts.notifications.desk import AlertDesk
from ordinaut_ext_observability.alerts.notifications.groups import group_key
from ordinaut_ext_observability.alerts.notifications.silences import Mutes
from ordinaut_ext_observability.alerts.routing.routes import Route

Shown = dict[str, Any]


def explain(desk: AlertDesk, fingerprint: str) -> Shown | None:
    """All that is known of telling this alert; None where nothing is. Raises `ClusterUnavailableError`."""
    (told, outbox), entries, routing = desk.store.sending(), journal_of(desk, fingerprint), desk.routing()
    active = {seen.alert.fingerprint: seen.alert for seen in desk.alerts()}
    kept = (each.firing[fingerprint] for each in told.values() if fingerprint in each.firing)
    alert = active.get(fingerprint) or next(kept, None)
    if alert is None:  # its labels are no longer known
        return {"fingerprint": fingerprint, "state": "resolved", "journal": entries} if entries else None
    routes: list[Shown] = []
    for route in () if desk.told_by else routing.route.match(alert.labels):
        key, muted = group_key(route, route.group_labels(alert.labels)), [*_mutes(desk, alert, route, active)]
        integrations, told_ms = {}, 0
        for each in (each for receiver in routing.receivers.values() for each in receiver.integrations):
            before, waiting = told.get(delivery_key(key, each.key)), outbox.get(delivery_key(key, each.key))
            if before or waiting or each in routing.receivers[route.receiver].integrations:
                about = [entry for entry in entries if (entry["group_key"], entry["integration"]) == (key, each.key)]
                words = ". ".join(_words(fingerprint, route, before, waiting, about, again=not muted))
                integrations[each.key] = words or ("not told: it is muted" if muted else "not told yet")
                told_ms = max(told_ms, before.at_ms if before else 0)
        found = {"receiver": route.receiver, "group_key": key, "muted_by": muted, "integrations": integrations}
        routes.append({**found, "next_look": _next_look(route, alert.starts_at_ms, told_ms, desk.now_ms())})
    shown: Shown = {"fingerprint": fingerprint, "labels": alert.labels, "routes": routes, "journal": entries}
    shown |= {"told_by": f"{desk.told_by}: ask it"} if desk.told_by else {}
    return {"state": "firing" if fingerprint in active else "resolved", **shown}


def journal_of(desk: AlertDesk, alert: str = "") -> list[Shown]:
    """The journal, the newest first; that of the alert of this name or fingerprint, where one is given."""
    return [
        {"at": rfc3339(entry["at_ms"]), **entry}
        for entry in desk.store.journal()
        if not alert or any(alert in (each["fingerprint"], each["alertname"]) for each in entry["alerts"])
    ]


def _words(
    fingerprint: str, route: Route, told: Told | None, waiting: Delivery | None, entries: list[Shown], *, again: bool
) -> Iterator[str]:
    """Sentences about one integration; none where nothing was to be sent through it."""
    if waiting is not None:
        tried = f"{waiting.attempts} tries failed, the last: {waiting.error}; " if waiting.attempts else ""
        yield f"waits to be sent since {_at(waiting.created_ms)}: {tried}next try {_at(waiting.next_try_ms)}"
    if told is not None and fingerprint in (*told.firing, *told.resolved):
        reasons = [each["reason"].replace("_", " ") for each in entries if each["outcome"] == "sent"]
        what = "it fires" if fingerprint in told.firing else "it is over"
        yield f"told at {_at(told.at_ms)} that {what}{f', reason: {reasons[0]}' if reasons else ''}"
        if fingerprint in told.firing and again:
            at = _at(told.at_ms + repeat_after_ms(told, route.repeat_intervals_ms))
            yield f"told again at the first look after {at} if it still fires"
    if entries and entries[0]["outcome"] in ("failed", "dropped"):
        yield "what was queued at {} was {outcome}: {error}".format(_at(entries[0]["created_ms"]), **entries[0])


def _next_look(route: Route, starts_ms: int, told_ms: int, now_ms: int) -> str:
    every = f"the process that leads looks every {route.group_interval_ms / 1000:g} s"
    if told_ms:
        return f"about {_at(now_ms + (told_ms - now_ms) % route.group_interval_ms)}: {every}, and anew after a restart"
    gathered_ms = starts_ms + route.group_wait_ms
    return f"about {_at(gathered_ms)}, for the first time" if gathered_ms > now_ms else f"not known here: {every}"


def _mutes(desk: AlertDesk, alert: NotifiedAlert, route: Route, active: dict[str, NotifiedAlert]) -> Iterator[str]:
    now_ms, mutes = desk.now_ms(), Mutes(desk.routing())
    for each in desk.silences():
        if each.mutes(alert, now_ms):
            yield f"{each.kind} {each.id} by {each.created_by} until {_at(each.ends_at_ms)}: {each.comment}"
    mutes.begin(active.values(), now_ms)
    for source in mutes.of_alert(alert, now_ms).inhibited_by:
        yield f"inhibited by the alert {active[source].labels.get('alertname', '')} ({source})"
    for name in mutes.muting_intervals(route, now_ms):
        yield f"{'within' if name in route.mute_time_intervals else 'outside'} the time interval {name}"


def _at(time_ms: int) -> str:
    return f"{rfc3339(time_ms)[:19].replace('T', ' ')} UTC"
