"""The explanation of an alert: who was told of it, when and why, what holds it back, and when it is looked at next.

It is made of records in the store, so that any process gives it. When a group is looked at next follows from when it
was told last, and is not known where it never was: only the process that leads knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, rfc3339
from ordinaut_ext_observability.alerts.notifications.dedup import Told, repeat_after_ms
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, delivery_key
from ordinaut_ext_observability.alerts.notifications.desk import AlertDesk, SeenAlert
from ordinaut_ext_observability.alerts.notifications.groups import group_key
from ordinaut_ext_observability.alerts.notifications.mutes import Mutes
from ordinaut_ext_observability.alerts.routing.routes import Route

Shown = dict[str, Any]


def explain(desk: AlertDesk, fingerprint: str) -> Shown | None:
    """All that is known about telling the alert of this fingerprint; None where nothing is.

    Raises `ClusterUnavailableError`.
    """
    now_ms, (told, outbox), entries = desk.now_ms(), desk.store.sending(), journal_of(desk, fingerprint)
    active = {seen.alert.fingerprint: seen for seen in desk.alerts()}
    seen = active.get(fingerprint)
    kept = [NotifiedAlert.from_json(each.firing[fingerprint]) for each in told.values() if fingerprint in each.firing]
    alert = seen.alert if seen is not None else next(iter(kept), None)
    if alert is None:  # what it was is no longer known
        return {"fingerprint": fingerprint, "state": "resolved", "journal": entries} if entries else None
    muted = [*_mute_words(desk, seen, active, now_ms)] if seen is not None else []
    routes = []
    for route in desk.routing().route.match(alert.labels):
        mutes = [*muted, *_interval_words(Mutes(desk.routing()), route, now_ms)]
        key, integrations, told_ms = group_key(route, route.group_labels(alert.labels)), {}, 0
        for each in (each for receiver in desk.routing().receivers.values() for each in receiver.integrations):
            before, waiting = told.get(delivery_key(key, each.key)), outbox.get(delivery_key(key, each.key))
            if before or waiting or each in desk.routing().receivers[route.receiver].integrations:
                about = [entry for entry in entries if (entry["group_key"], entry["integration"]) == (key, each.key)]
                words = ". ".join(_words(fingerprint, route, before, waiting, about))
                integrations[each.key] = words or ("not told: it is muted" if mutes else "not told yet")
                told_ms = max(told_ms, before.at_ms if before is not None else 0)
        shown = {"receiver": route.receiver, "group_key": key, "muted_by": mutes, "integrations": integrations}
        routes.append({**shown, "next_look": _next_look(route, alert.starts_at_ms, told_ms, now_ms)})
    state = "resolved" if seen is None else "muted" if muted else "firing"
    shown = {"fingerprint": fingerprint, "labels": dict(alert.labels), "state": state}
    return {**shown, "routes": routes, "journal": entries}


def journal_of(desk: AlertDesk, alert: str = "") -> list[Shown]:
    """The entries of the journal about the alert of this name or fingerprint, the newest first; else all."""
    return [
        {"at": rfc3339(entry["at_ms"]), "created_at": rfc3339(entry["created_ms"]), **entry}
        for entry in desk.store.journal()
        if not alert or any(alert in (each["fingerprint"], each["alertname"]) for each in entry["alerts"])
    ]


def _words(
    fingerprint: str, route: Route, told: Told | None, waiting: Delivery | None, entries: list[Shown]
) -> Iterator[str]:
    """Sentences about one integration; none where it knows nothing of the alert."""
    if waiting is not None:
        tried = f"{waiting.attempts} tries failed, the last: {waiting.error}; " if waiting.attempts else ""
        yield f"waits to be sent since {_at(waiting.created_ms)}: {tried}next try {_at(waiting.next_try_ms)}"
    if told is not None and fingerprint in (*told.firing, *told.resolved):
        sent = next((each for each in entries if each["outcome"] == "sent"), None)
        because = f", reason: {sent['reason'].replace('_', ' ')}" if sent is not None else ""
        yield f"told at {_at(told.at_ms)} that it {'fires' if fingerprint in told.firing else 'is over'}{because}"
        if fingerprint in told.firing:
            again = _at(told.at_ms + repeat_after_ms(told, route.repeat_intervals_ms))
            yield f"told again at the first look after {again} if it still fires"
    if entries and entries[0]["outcome"] in ("failed", "dropped"):
        queued, error = _at(entries[0]["created_ms"]), entries[0]["error"]
        yield f"what was queued at {queued} was {entries[0]['outcome']}{f': {error}' if error else ''}"


def _next_look(route: Route, starts_ms: int, told_ms: int, now_ms: int) -> str:
    every = f"the process that leads looks every {route.group_interval_ms / 1000:g} s"
    if told_ms:
        return f"about {_at(now_ms + (told_ms - now_ms) % route.group_interval_ms)}: {every}, and anew after a restart"
    if starts_ms + route.group_wait_ms > now_ms:
        return f"about {_at(starts_ms + route.group_wait_ms)}: a new group waits for further alerts"
    return f"not known here: {every}"


def _mute_words(desk: AlertDesk, seen: SeenAlert, active: Mapping[str, SeenAlert], now_ms: int) -> Iterator[str]:
    for each in desk.silences():
        if each.mutes(seen.alert.labels, now_ms):
            yield f"{each.kind} {each.id} by {each.created_by} until {_at(each.ends_at_ms)}: {each.comment}"
    for source in seen.muted.inhibited_by:
        yield f"inhibited by the alert {active[source].alert.labels.get('alertname', '')} ({source})"


def _interval_words(mutes: Mutes, route: Route, now_ms: int) -> list[str]:
    names = mutes.muting_intervals(route, now_ms)
    return [
        f"{'within' if name in route.mute_time_intervals else 'outside'} the time interval {name}" for name in names
    ]


def _at(time_ms: int) -> str:
    return f"{rfc3339(time_ms)[:19].replace('T', ' ')} UTC"
