#!/usr/bin/env python3
"""Writes ../testdata/golden.json: what upstream's oslo.policy answers.

Run it where release 2025.1's packages are installed (Debian 13), with the output file as its argument:

    python3 golden.py FILE

Every rule of every service is asked by every credential about every target, and so is a list of free check strings. A rule's answers are one
string, a character each: g granted, r refused, s wrong scope; credentials are the outer loop.
"""
import importlib
import json
import random
import subprocess
import sys

MODULES = {
    'keystone': 'keystone.common.policies', 'nova': 'nova.policies', 'neutron': 'neutron.conf.policies',
    'glance': 'glance.policies', 'placement': 'placement.policies', 'cinder': 'cinder.policies',
}
IDS = ['user_id', 'user_domain_id', 'project_id', 'project_domain_id', 'domain_id', 'system_scope',
       'service_user_id', 'service_project_id']
ADMIN, MANAGER, MEMBER, READER = ['admin', 'manager', 'member', 'reader'], ['manager', 'member', 'reader'], ['member', 'reader'], ['reader']

CREDS = [
    {'user_id': 'u1', 'project_id': 'p1', 'project_domain_id': 'd1', 'user_domain_id': 'd1', 'roles': ADMIN},
    {'user_id': 'u1', 'project_id': 'p1', 'project_domain_id': 'd1', 'user_domain_id': 'd1', 'roles': MANAGER},
    {'user_id': 'u1', 'project_id': 'p1', 'project_domain_id': 'd1', 'user_domain_id': 'd1', 'roles': MEMBER},
    {'user_id': 'u2', 'project_id': 'p1', 'project_domain_id': 'd1', 'user_domain_id': 'd1', 'roles': ['Reader']},
    {'user_id': 'u1', 'project_id': 'p2', 'project_domain_id': 'd2', 'user_domain_id': 'd1', 'roles': MEMBER},
    {'user_id': 'u3', 'project_id': 'svc', 'project_domain_id': 'd1', 'roles': ['service', 'member'], 'service_roles': ['service'],
     'service_user_id': 'u3', 'service_project_id': 'svc'},
    {'user_id': 'u1', 'domain_id': 'd1', 'user_domain_id': 'd1', 'roles': ADMIN},
    {'user_id': 'u1', 'domain_id': 'd1', 'user_domain_id': 'd1', 'roles': MANAGER},
    {'user_id': 'u1', 'domain_id': 'd1', 'user_domain_id': 'd1', 'roles': READER},
    {'user_id': 'u1', 'system_scope': 'all', 'roles': ADMIN},
    {'user_id': 'u1', 'system_scope': 'all', 'roles': READER},
    {'user_id': 'u1', 'roles': []},
    {'user_id': 'u1', 'project_id': 'p1', 'is_admin': True, 'roles': []},
]

TARGETS = [
    {},
    {'project_id': 'p1', 'tenant_id': 'p1', 'user_id': 'u1'},
    {'project_id': 'p2', 'tenant_id': 'p2', 'user_id': 'u2'},
    {'project_id': None, 'tenant_id': None, 'user_id': None},
    {'project_id': 'p9', 'tenant_id': 'p9', 'shared': True, 'router:external': True, 'belongs_to_default_sg': True,
     'network:tenant_id': 'p1', 'ext_parent:tenant_id': 'p1', 'security_group:tenant_id': 'p1', 'device_owner': 'network:dhcp',
     'target_project': '*', 'target_tenant': '*'},
    {'project_id': 'p9', 'tenant_id': 'p9', 'shared': False, 'router:external': False, 'belongs_to_default_sg': False,
     'network:tenant_id': 'p9', 'ext_parent:tenant_id': 'p2', 'security_group:tenant_id': 'p9', 'device_owner': 'compute:nova',
     'target_project': 'p1', 'target_tenant': 'p1'},
    {'owner': 'p1', 'project_id': 'p1', 'visibility': 'private', 'member_id': 'p2'},
    {'owner': 'p9', 'project_id': 'p9', 'visibility': 'shared', 'member_id': 'p1'},
    {'owner': 'p9', 'project_id': 'p9', 'visibility': 'public', 'member_id': None},
    {'owner': 'p9', 'project_id': 'p9', 'visibility': 'community'},
    {'user_id': 'u1', 'target.user.id': 'u1', 'target.user.domain_id': 'd1', 'target.domain.id': 'd1', 'target.domain_id': 'd1',
     'target.project.id': 'p1', 'target.project.domain_id': 'd1', 'target.group.domain_id': 'd1', 'target.role.domain_id': 'd1',
     'target.role.name': 'member', 'target.token.user_id': 'u1', 'target.credential.user_id': 'u1', 'target.trust.trustor_user_id': 'u1',
     'target.trust.trustee_user_id': 'u2', 'target.limit.project_id': 'p1', 'target.limit.domain.id': 'd1',
     'target.limit.project.domain_id': 'd1'},
    {'user_id': 'u2', 'target.user.id': 'u2', 'target.user.domain_id': 'd2', 'target.domain.id': 'd2', 'target.domain_id': None,
     'target.project.id': 'p2', 'target.project.domain_id': 'd2', 'target.group.domain_id': 'd1', 'target.role.domain_id': None,
     'target.role.name': 'admin', 'target.token.user_id': 'u2', 'target.credential.user_id': 'u2', 'target.trust.trustor_user_id': 'u2',
     'target.trust.trustee_user_id': 'u1', 'target.limit.project_id': None, 'target.limit.domain.id': None,
     'target.limit.project.domain_id': 'd2'},
]

LEAVES = [
    '@', '!', 'role:admin', 'role:READER', 'role:%(target.role.name)s', 'rule:base', 'rule:nowhere', 'project_id:%(project_id)s',
    'user_id:%(user_id)s', 'domain_id:%(target.domain.id)s', 'system_scope:all', 'system:all', 'is_admin:True', 'domain_id:None',
    "'public':%(visibility)s", 'True:%(shared)s', 'None:%(target.domain_id)s', 'None:%(project_id)s', 'service_roles:service',
    'roles:member', 'token.domain.id:%(target.domain.id)s', 'token.roles.name:%(target.role.name)s', 'token.absent:x',
    '"member":%(target.role.name)s', 'project_id:p%%1', 'user_id:u%(nr)s', '1:%(nr)s', 'nr:%(nr)s', 'list:b',
]
FIXED = [
    '', 'not role:admin', 'not not role:admin', 'role:admin or role:reader and project_id:%(project_id)s',
    '(role:admin or role:reader) and project_id:%(project_id)s', 'role:admin and project_id:%(project_id)s or user_id:%(user_id)s and @',
    'NOT role:admin AND Role:reader', '(((role:admin)))', '( role:admin )', 'not (role:admin or role:reader)',
    'not role:admin and role:reader or not role:reader and @', 'rule:base and rule:base2', 'role:admin or (rule:base and not rule:base2) and @',
]


def free_checks():
    rnd = random.Random(20251)

    def expr(depth):
        n = rnd.random()
        if depth == 0 or n < 0.25:
            return rnd.choice(LEAVES)
        if n < 0.35:
            return 'not ' + (expr(0) if rnd.random() < 0.5 else '(' + expr(depth - 1) + ')')
        op = rnd.choice([' and ', ' or ', ' or ', ' AND ', ' and '])
        parts = []
        for _ in range(rnd.randint(2, 4)):
            p = expr(depth - 1)
            parts.append('(' + p + ')' if rnd.random() < 0.4 else p)
        return op.join(parts)

    return LEAVES + FIXED + [expr(3) for _ in range(160)]


def creds_of(c, service):
    v = {k: c.get(k) for k in IDS}
    v['roles'] = list(c['roles'])
    v['service_roles'] = list(c.get('service_roles', []))
    v['is_admin_project'] = True
    if service in ('nova', 'neutron', 'cinder', 'free'):
        v['is_admin'] = c.get('is_admin', False)
    if service == 'neutron':
        v['tenant_id'] = v['project_id']
    if service in ('keystone', 'free'):
        v['token'] = token_of(c)
    if service == 'free':
        v['nr'] = 1
        v['list'] = ['a', 'b']
    return v


def token_of(c):
    t = {'roles': [{'name': r} for r in c['roles']]}
    if c.get('domain_id'):
        t['domain'] = {'id': c['domain_id']}
    if c.get('project_id'):
        t['project'] = {'id': c['project_id'], 'domain': {'id': c.get('project_domain_id')}}
    return t


def load_attributes():
    """Fills neutron's attribute map as its extensions do: field checks convert their values by it."""
    import pkgutil

    import neutron.extensions
    import neutron_lib.api.definitions
    from neutron_lib.api import attributes
    for pkg in (neutron_lib.api.definitions, neutron.extensions):
        for m in pkgutil.iter_modules(pkg.__path__):
            try:
                mod = importlib.import_module(pkg.__name__ + '.' + m.name)
            except Exception as ex:
                print(m.name, repr(ex)[:100], file=sys.stderr)
                continue
            maps = [v for v in vars(mod).values() if isinstance(v, dict)]
            for res in maps:
                for name, attrs in res.items():
                    if isinstance(attrs, dict) and all(isinstance(a, dict) and 'allow_post' in a for a in attrs.values()):
                        attributes.RESOURCES.setdefault(name, {}).update(attrs)


def ask(service):
    from oslo_config import cfg
    from oslo_policy import policy
    conf = cfg.ConfigOpts()
    conf([], project='golden', default_config_files=[])
    if service == 'neutron':
        import neutron.policy  # noqa: registers its checks
        load_attributes()
    if service == 'nova':
        import nova.policy  # noqa: registers is_admin
    e = policy.Enforcer(conf)
    e.conf.set_override('enforce_scope', True, 'oslo_policy')
    e.conf.set_override('enforce_new_defaults', True, 'oslo_policy')
    if service == 'free':
        checks = free_checks()
        rules = [policy.RuleDefault('base', 'role:reader or system_scope:all'), policy.RuleDefault('base2', 'rule:base and role:member')]
        rules += [policy.RuleDefault('free%d' % i, s) for i, s in enumerate(checks)]
        targets = [dict(t, nr=1) for t in TARGETS]
    else:
        rules = list(importlib.import_module(MODULES[service]).list_rules())
        targets = TARGETS
    e.register_defaults(rules)
    e.suppress_deprecation_warnings = True
    e.load_rules()
    out = {}
    for r in rules:
        row = ''
        for c in CREDS:
            for t in targets:
                try:
                    ok = e.enforce(r.name, dict(t), creds_of(c, service), do_raise=True)
                    row += 'g' if ok else 'r'
                except policy.InvalidScope:
                    row += 's'
                except policy.PolicyNotAuthorized:
                    row += 'r'
                except Exception as ex:  # a parent's plugin is missing here: nothing to compare
                    print(service, r.name, repr(ex)[:100], file=sys.stderr)
                    row += '?'
        out[r.name] = row
    if service == 'free':
        return {'checks': checks, 'answers': [out['free%d' % i] for i in range(len(checks))]}
    return out


def main():
    if sys.argv[1] == '--service':
        json.dump(ask(sys.argv[2]), sys.stdout)
        return
    doc = {'creds': CREDS, 'targets': TARGETS, 'services': {}}
    for s in list(MODULES) + ['free']:  # each in a process of its own: services register checks for all
        res = json.loads(subprocess.run([sys.executable, __file__, '--service', s], check=True, stdout=subprocess.PIPE).stdout)
        if s == 'free':
            doc['free'] = res
        else:
            doc['services'][s] = res
    with open(sys.argv[1], 'w') as f:
        json.dump(doc, f, indent=0, sort_keys=True)
        f.write('\n')


if __name__ == '__main__':
    main()
