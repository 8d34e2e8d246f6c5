"""Tells when plans are due, by Python's own arithmetic of time zones.

Arguments: the first day, the day behind the last, and the zones; all zones if there are none. The first line of the
output is where the zone database is; each further line is a zone and a SHA-256 of the instants of every plan.
"""
import hashlib
import sys
import zoneinfo
from datetime import date, datetime, time, timedelta, timezone

TIMES = [time(0, 0), time(0, 30), time(1, 59, 59), time(2, 0), time(2, 30), time(12, 0), time(23, 59, 59)]
UTC = timezone.utc
SECOND = timedelta(seconds=1)


def wall(instant, zone):
    return instant.astimezone(zone).replace(tzinfo=None)


def due(local, zone):
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall(instant, zone) == local:
        return instant
    before, after = local.replace(tzinfo=zone, fold=1).astimezone(UTC), instant
    while after - before > SECOND:  # the clocks go over the time between these two
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if wall(middle, zone) < local:
            before = middle
        else:
            after = middle
    return after


def digest(zone, first, end):
    days = [first + timedelta(n) for n in range((end - first).days)]
    sums = hashlib.sha256()
    for at in TIMES:
        table = [int(due(datetime.combine(day, at), zone).timestamp()) for day in days]
        plans = [range(7)] + [[day] for day in range(7)] + [[0, 2, 4], [5, 6]]
        for plan in plans:
            slots = sorted({slot for day, slot in zip(days, table) if day.weekday() in plan})
            sums.update((" ".join(map(str, slots)) + "\n").encode())
    return sums.hexdigest()


first, end = date.fromisoformat(sys.argv[1]), date.fromisoformat(sys.argv[2])
names = sys.argv[3:] or sorted(zoneinfo.available_timezones())
print(zoneinfo.TZPATH[0] if zoneinfo.TZPATH else "")
for name in names:
    if name != "localtime":
        print(name, digest(zoneinfo.ZoneInfo(name), first, end), flush=True)
