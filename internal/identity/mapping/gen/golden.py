#!/usr/bin/env python3
"""Writes golden.json: what upstream's rule engine answers.

    python3 golden.py CASES GOLDEN

An answer is a result (groups sorted and distinct), "nobody" for a ValidationError, which upstream answers 401, or "fault" for any other error,
which it answers 500.
"""
import json
import random
import sys

from keystone import exception
from keystone.federation import utils

PIECES = ['alice', 'bob', 'a b', '', 'admins', "o'brien", '"q"', 'x;y', "['one', 'two']", 'naïve', 'tenant-name', 'a\\b', '{0}', '[1]', '[', 'staff;admins;ops']
FORMATS = ['{0}', '{1}', '{0} {1}', 'fixed', '{0}-{1}', '{}', '{2}', 'x{{{0}}}', '{0[0]}', '{0:>6}', '{0!r}', '{', '}', '{x}', 'pre{0}post', "['g1', '{0}']"]
PATTERNS = ['^a', 'o', '^(?!admin)', r'\d', '.*', 's$', '[a-c]+$', '(?i)ADMIN', r'\w+-\w+']


def apply(version, rules, assertion):
    try:
        processor = utils.IDP_ATTRIBUTE_MAPPING_SCHEMAS[version]['processor']('m', json.loads(json.dumps(rules)))
        out = processor.process(assertion)
    except exception.ValidationError:
        return 'nobody'
    except Exception:
        return 'fault'
    for g in out['group_names']:
        g['name'] = str(g['name'])  # of a list of numbers
    names = {json.dumps(g, sort_keys=True): g for g in out['group_names']}
    return {
        'user': out['user'],
        'group_ids': sorted(set(map(str, out['group_ids']))),
        'group_names': [names[k] for k in sorted(names)],
        'projects': [{'name': p['name'], 'roles': [r['name'] for r in p['roles']], 'domain': p.get('domain')} for p in out['projects']],
    }


def random_case(rng):
    attributes = ['A', 'B', 'C', 'D']

    def requirement():
        q = {'type': rng.choice(attributes)}
        kind = rng.choice([None, None, None, 'any_one_of', 'not_any_of', 'blacklist', 'whitelist'])
        if kind:
            regex = rng.random() < 0.4
            q[kind] = [rng.choice(PATTERNS if regex else PIECES) for _ in range(rng.randint(0, 3))]
            if regex:
                q['regex'] = True
        return q

    def domain():
        return rng.choice([{'id': 'd1'}, {'name': 'Dom'}, {'id': 'd2', 'name': 'x'}])

    def local():
        l = {}
        if rng.random() < 0.7:
            l['user'] = {k: rng.choice(FORMATS) for k in ('name', 'id', 'email') if rng.random() < 0.5}
            if rng.random() < 0.3:
                l['user']['domain'] = domain()
            if rng.random() < 0.2:
                l['user']['type'] = rng.choice(['local', 'ephemeral'])
        if rng.random() < 0.3:
            l['group'] = {'id': 'g-{0}'} if rng.random() < 0.5 else {'name': rng.choice(FORMATS), 'domain': domain()}
        if rng.random() < 0.4:
            l['groups'] = rng.choice(FORMATS)
        if rng.random() < 0.6:
            l['domain'] = domain()
        if rng.random() < 0.2:
            l['group_ids'] = rng.choice(FORMATS)
        if rng.random() < 0.3:
            l['projects'] = [{'name': rng.choice(FORMATS), 'roles': [{'name': 'member'}]} for _ in range(rng.randint(1, 2))]
        return l

    rules = [{'local': [local() for _ in range(rng.randint(0, 2))], 'remote': [requirement() for _ in range(rng.randint(1, 3))]} for _ in range(rng.randint(1, 3))]
    assertion = {a: rng.choice(PIECES) for a in attributes if rng.random() < 0.85}
    return rng.choice(['1.0', '2.0']), rules, assertion


def ordered(rules):
    """Sets have no order in Python: a list made of one may show in no name."""
    return not any(('whitelist' in q or 'blacklist' in q) for r in rules for q in r['remote'])


def main():
    cases, golden = sys.argv[1:]
    with open(cases) as f:
        given = json.load(f)
    out = []
    for c in given:
        for a in c['assertions']:
            out.append({'name': c['name'], 'version': c.get('version', '1.0'), 'rules': c['rules'], 'assertion': a,
                        'want': apply(c.get('version', '1.0'), c['rules'], a)})
    rng = random.Random(20250402)
    made = 0
    while made < 400:
        version, rules, assertion = random_case(rng)
        if not ordered(rules) and any(';' in v for v in assertion.values()):
            continue
        want = apply(version, rules, assertion)
        if isinstance(want, str) and rng.random() < 0.9:
            continue
        out.append({'name': 'random', 'version': version, 'rules': rules, 'assertion': assertion, 'want': want})
        made += 1
    with open(golden, 'w') as f:
        f.write('[\n' + ',\n'.join(json.dumps(c, ensure_ascii=False, sort_keys=True) for c in out) + '\n]\n')


main()
