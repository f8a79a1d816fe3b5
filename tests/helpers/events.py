#!/usr/bin/env python3
"""What cflock --log-json writes, looked at.

events.py FILE: checks each line, and prints its fields as lines EVENT FIELD VALUE;
those in an object as FIELD.FIELD.
"""
import datetime
import json
import re
import sys

BY_EVENT = {
    'waiting': 'waited_ms reason place waiting left_ms holders holder first',
    'taken_over': 'waited_ms reason place waiting left_ms',
    'unreachable': 'waited_ms cause',
    'granted': 'waited_ms ttl_ms',
    'not_started': 'reason exit_code waited_ms cause left_ms holders holder first '
                   'place waiting kind signal',
    'cannot_run': 'command cause exit_code',
    'renewed': 'took_ms left_ms',
    'renewed_late': 'took_ms left_ms late_ms failures',
    'renewal_failed': 'took_ms left_ms late_ms failures cause',
    'paused': 'signal',
    'resumed': '',
    'lost': 'reason cause left_ms',
    'stopping': 'signal kill_in_ms',
    'unkillable': 'processes',
    'unguarded': 'exit_code',
    'released': 'took_ms',
    'release_failed': 'left_ms cause',
    'summary': 'duration_ms waited_ms renewals renewals_failed slowest_renewal_ms '
               'smallest_left_ms lost_at_left_ms left_out exit_code',
}
ALWAYS = ['time', 'event', 'level', 'text']
LEVELS = ['error', 'warning', 'notice', 'info', 'debug']
TEXTS = ['time', 'event', 'level', 'name', 'id', 'token', 'text', 'reason', 'cause',
         'kind', 'command']
TIME = re.compile(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$')


def unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        sys.exit('a field twice: %r' % pairs)
    return found


def check(event):
    kind = event['event']
    known = ALWAYS + ['name', 'id', 'token'] + BY_EVENT[kind].split()
    for field, value in event.items():
        assert field in known, '%s has %s' % (kind, field)
        if field in ('holder', 'first'):
            for key, text in value.items():
                assert key in ('id', 'host', 'pid', 'user', 'command', 'message',
                               'value', 'since'), key
                assert isinstance(text, str) and text, key
        elif field in TEXTS:
            assert isinstance(value, str), field
            assert value.isprintable(), field
        else:
            assert isinstance(value, int) and not isinstance(value, bool), field
    for field in ALWAYS:
        assert event[field], field
    assert event['level'] in LEVELS
    assert TIME.match(event['time'])
    written = datetime.datetime.strptime(event['time'], '%Y-%m-%dT%H:%M:%S.%fZ')
    written = written.replace(tzinfo=datetime.timezone.utc)
    age = datetime.datetime.now(datetime.timezone.utc) - written
    assert -2 < age.total_seconds() < 600, age
    assert not event['text'].startswith('cflock')


def read(path):
    with open(path, 'rb') as stream:
        lines = stream.read().split(b'\n')
    if lines.pop():
        sys.exit('the last line has no end')
    events = []
    for line in lines:
        if len(line) + 1 > 4096:
            sys.exit('a line of %d bytes' % len(line))
        event = json.loads(line.decode('utf-8'), object_pairs_hook=unique)
        try:
            check(event)
        except (AssertionError, KeyError) as error:
            sys.exit('%r in: %s' % (error, line.decode('utf-8')))
        events.append(event)
    return events


def print_fields(event, before, fields):
    for field, value in fields.items():
        if isinstance(value, dict):
            print_fields(event, before + field + '.', value)
        else:
            print(event, before + field, value)


for found in read(sys.argv[1]):
    print_fields(found['event'], '', found)
