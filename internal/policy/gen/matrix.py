#!/usr/bin/env python3
"""Writes ../../daemon/testdata/matrix/golden.json: what upstream's oslo.policy answers to each persona of the matrix test.

Run it where release 2025.1's packages are installed (Debian 13), with the output file as its argument:

    python3 matrix.py FILE

Every rule of every service is asked by every persona about every target of the service. A rule's answers about a target are one string, a
character per persona in PERSONAS' order: g granted, r refused, s wrong scope. Rows of the matrix name a rule and a target, so a new route
needs no new run as long as its kind of target is here.
"""
import importlib
import json
import subprocess
import sys

import golden

# All personas but the last are at home in project p1 of domain d1; what the targets below own is p1's and the member's.
PERSONAS = {
    'reader': {'project_id': 'p1', 'project_domain_id': 'd1', 'roles': golden.READER},
    'member': {'project_id': 'p1', 'project_domain_id': 'd1', 'roles': golden.MEMBER},
    'manager': {'project_id': 'p1', 'project_domain_id': 'd1', 'roles': golden.MANAGER},
    'admin': {'project_id': 'p1', 'project_domain_id': 'd1', 'roles': golden.ADMIN},
    'domain_admin': {'domain_id': 'd1', 'roles': golden.ADMIN},
    'system_reader': {'system_scope': 'all', 'roles': golden.READER},
    'system_admin': {'system_scope': 'all', 'roles': golden.ADMIN},
    'service': {'project_id': 'svc', 'project_domain_id': 'default', 'roles': ['service']},
    'other': {'project_id': 'p2', 'project_domain_id': 'd1', 'roles': golden.MEMBER},
}

USER = {'target.user.id': 'member', 'target.user.domain_id': 'd1'}
PROJECT = {'target.project.id': 'p1', 'target.project.domain_id': 'd1'}
DOMAIN = {'target.domain.id': 'd1'}
GROUP = {'target.group.id': 'g1', 'target.group.domain_id': 'd1'}
ROLE = {'target.role.name': 'member', 'target.role.domain_id': None}

# $X is the caller's X; an attribute whose value the caller lacks is left out.
TARGETS = {
    'keystone': {
        'none': {},
        'user': dict(USER, user_id='member'),
        'new_user': {'user_id': 'u', 'target.user.id': 'u', 'target.user.domain_id': 'd1'},
        'project': PROJECT,
        'domain': DOMAIN,
        'group': GROUP,
        'group_user': dict(GROUP, **USER),
        'role': {'target.role.name': 'custom', 'target.role.domain_id': None},
        'user_project': dict(USER, **PROJECT), 'user_project_role': dict(USER, **PROJECT, **ROLE),
        'group_project': dict(GROUP, **PROJECT), 'group_project_role': dict(GROUP, **PROJECT, **ROLE),
        'user_domain': dict(USER, **DOMAIN), 'user_domain_role': dict(USER, **DOMAIN, **ROLE),
        'group_domain': dict(GROUP, **DOMAIN), 'group_domain_role': dict(GROUP, **DOMAIN, **ROLE),
        'credential': {'target.credential.user_id': 'member', 'user_id': 'member'},
        'own_credential': {'target.credential.user_id': '$user_id', 'user_id': '$user_id'},
        'trust': {'target.trust.trustor_user_id': 'member', 'target.trust.trustee_user_id': 'other'},
        'limit': {'target.limit.project_id': 'p1', 'target.limit.project.domain_id': 'd1'},
        'token': {'target.token.user_id': 'member', 'target.token.user.domain.id': 'd1'},
        'own_domain': {'target.domain_id': '$domain_id', 'target.domain.id': '$domain_id', 'target.group.domain_id': '$domain_id',
                       'target.user.domain_id': '$domain_id'},
    },
    'nova': {
        'none': {},
        'self': {'project_id': '$project_id', 'user_id': '$user_id'},
        'own': {'project_id': 'p1', 'user_id': 'member'},
        'project': {'project_id': 'p1'},
        'user': {'user_id': 'member'},
    },
    'neutron': {
        'none': {},
        'self': {'project_id': '$project_id', 'tenant_id': '$project_id'},
        'own': {'project_id': 'p1', 'tenant_id': 'p1', 'shared': False, 'router:external': False, 'network:tenant_id': 'p1', 'network:project_id': 'p1',
                'network:shared': False, 'ext_parent:tenant_id': 'p1', 'ext_parent:project_id': 'p1', 'security_group:tenant_id': 'p1',
                'security_group:project_id': 'p1', 'belongs_to_default_sg': False, 'device_owner': '', 'target_tenant': 'p1', 'target_project': 'p1'},
        'wildcard': {'project_id': '$project_id', 'tenant_id': '$project_id', 'target_tenant': '*', 'target_project': '*'},
    },
    'glance': {
        'none': {},
        'self': {'project_id': '$project_id', 'owner': '$project_id', 'visibility': 'shared', 'user_id': '$user_id'},
        'own': {'project_id': 'p1', 'owner': 'p1', 'visibility': 'private', 'member_id': None, 'member': None},
        'member': {'project_id': 'p1', 'owner': 'p1', 'visibility': 'shared', 'member_id': 'p2', 'member': 'p2'},
        'namespace': {'project_id': 'p1', 'visibility': 'private'},
    },
    'placement': {
        'none': {},
        'project': {'project_id': 'p1', 'user_id': '$user_id'},
    },
}


def target_of(t, creds):
    out = {}
    for k, v in t.items():
        if isinstance(v, str) and v.startswith('$'):
            v = creds.get(v[1:])
            if v is None and k.startswith('target.'):
                continue
        out[k] = v
    return out


def ask(service):
    from oslo_config import cfg
    from oslo_policy import policy
    conf = cfg.ConfigOpts()
    conf([], project='matrix', default_config_files=[])
    if service == 'neutron':
        import neutron.policy  # noqa: registers its checks
        golden.load_attributes()
    if service == 'nova':
        import nova.policy  # noqa: registers is_admin
    e = policy.Enforcer(conf)
    e.conf.set_override('enforce_scope', True, 'oslo_policy')
    e.conf.set_override('enforce_new_defaults', True, 'oslo_policy')
    rules = list(importlib.import_module(golden.MODULES[service]).list_rules())
    e.register_defaults(rules)
    e.suppress_deprecation_warnings = True
    e.load_rules()
    out = {}
    for name, t in TARGETS[service].items():
        answers = out[name] = {}
        for r in rules:
            row = ''
            for persona, c in PERSONAS.items():
                c = dict(c, user_id=persona, user_domain_id='d1', is_admin='admin' in c['roles'])
                creds = golden.creds_of(c, service)
                try:
                    row += 'g' if e.enforce(r.name, target_of(t, creds), creds, do_raise=True) else 'r'
                except policy.InvalidScope:
                    row += 's'
                except policy.PolicyNotAuthorized:
                    row += 'r'
                except Exception as ex:  # neutron asks a plugin for a parent that the target lacks
                    print(service, name, r.name, repr(ex)[:100], file=sys.stderr)
                    row += '?'
            answers[r.name] = row
    return out


def main():
    if sys.argv[1] == '--service':
        json.dump(ask(sys.argv[2]), sys.stdout)
        return
    doc = {'personas': list(PERSONAS), 'services': {}}
    for s in TARGETS:  # each in a process of its own: services register checks for all
        res = json.loads(subprocess.run([sys.executable, __file__, '--service', s], check=True, stdout=subprocess.PIPE).stdout)
        doc['services'][s] = res
    with open(sys.argv[1], 'w') as f:
        json.dump(doc, f, indent=0, sort_keys=True)
        f.write('\n')


if __name__ == '__main__':
    main()
