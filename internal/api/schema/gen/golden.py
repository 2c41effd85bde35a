#!/usr/bin/env python3
"""Writes ../testdata/golden.json: what the services answer to documents that break a schema.

Run it where the services' packages are installed (Debian 12), with the output file as its argument:

    python3 golden.py FILE

Each case is [dialect, schema, document, message or null, ...]; nova's query cases have the dialect `nova-query`. The schemas are of this file's own
making; half of them are random.
"""
import importlib
import json
import os
import random
import subprocess
import sys

STR = {'type': 'string'}
NAME = {'type': 'string', 'minLength': 1, 'maxLength': 12}
META = {'type': 'object', 'patternProperties': {'^[a-zA-Z0-9-_:. ]{1,255}$': {'type': 'string', 'maxLength': 5}}, 'additionalProperties': False}
BOOL = {'type': ['boolean', 'string'], 'enum': [True, 'True', 'true', '1', 'on', False, 'False', '0', 'off']}
SERVER = {
    'type': 'object',
    'properties': {'server': {
        'type': 'object',
        'properties': {
            'name': dict(NAME, format='name'), 'flavorRef': {'type': ['string', 'integer'], 'minLength': 1}, 'metadata': META,
            'networks': {'type': 'array', 'uniqueItems': True, 'items': {
                'type': 'object', 'properties': {'fixed_ip': {'oneOf': [{'type': 'string', 'format': 'ipv4'}, {'type': 'string', 'format': 'ipv6'}]},
                                                 'port': {'oneOf': [{'type': 'string', 'format': 'uuid'}, {'type': 'null'}]}},
                'additionalProperties': False}},
            'min_count': {'type': ['integer', 'string'], 'pattern': '^[0-9]*$', 'minimum': 1, 'minLength': 1},
            'config_drive': BOOL,
        },
        'required': ['name', 'flavorRef'], 'additionalProperties': False}},
    'required': ['server'], 'additionalProperties': False}


def server(**kw):
    return {'server': dict({'name': 'a', 'flavorRef': '1'}, **kw)}


def drop(d, key):
    return {k: v for k, v in d.items() if k != key}


# (schema, documents); every dialect is asked.
FIXED = [
    (SERVER, [server(), {}, {'server': None}, {'server': []}, {'x': 1, 'server': server()['server']}, server(name=''), server(name='x' * 13), server(name=5),
              server(name=None), server(name={'b': 1, 'a': [True, None, 1.5, 'é\n']}), server(flavorRef=''), server(flavorRef=1.0), server(flavorRef=[]),
              server(metadata={'a': 1}), server(metadata={'a': 'toolong'}), server(metadata={'ä': 'x'}), server(metadata={'ä': 'x', '!': 'y'}),
              server(metadata=[]), server(networks=[{}, {}]), server(networks=[{'fixed_ip': 'x'}]), server(networks=[{'port': 'x'}]),
              server(networks=[{'port': 1, 'y': 2}]), server(networks={}), server(min_count=0), server(min_count='0'), server(min_count='x'),
              server(min_count=''), server(min_count=-1), server(config_drive='maybe'), server(config_drive=1), server(config_drive=0),
              server(config_drive=None), server(unknown=1), server(unknown=1, another="it's"), {'server': {}}, {'server': {'name': 'a'}}, None, [], 'x', 5]),
    (META, [{}, {'a': 'b'}, {'k\n': 'v'}, {'': 'v'}, {'x' * 256: 'v'}, {'a': None}, {"it's": 'x'}, {'q"\'': 'x'}]),
    ({'type': 'object', 'properties': {'a': {'type': 'integer'}}, 'additionalProperties': {'type': 'string'}}, [{'b': 1}, {'a': 'x'}, {'b': 'x'}, {'a': 1.0}]),
    ({'type': 'array', 'items': {'type': 'string', 'minLength': 2}, 'minItems': 1, 'maxItems': 3, 'uniqueItems': True},
     [[], ['ab', 'ab'], ['a'], ['ab', 'cd', 'ef', 'gh'], ['ab', 5], [[1]], {}]),
    ({'type': 'array', 'uniqueItems': True}, [[1, 1.0], [1, True], [0, False], [{'a': 1, 'b': 2}, {'b': 2, 'a': 1}], [[1], [True]], [None, None], [1, '1'],
                                              ['a', 'b'], [1.5, 1.5], [[], []], [{'a': True}, {'a': 1}]]),
    ({'enum': [1, 'a', None, {'x': 1}, [1]]}, [1, 1.0, True, 'a', 'b', None, {'x': 1}, {'x': 2}, [1], 0, False, {}]),
    ({'enum': [True, False]}, [True, 1, 0, 'True', None]),
    ({'enum': ['None', None, {}]}, ['None', None, {}, [], 'x']),
    ({'type': 'integer', 'minimum': 0, 'maximum': 2147483647}, [0, -1, 2147483648, 1.0, 1.5, '1', True, None, 12345678901234567890123, -0.0]),
    ({'type': 'number', 'minimum': 0.5, 'maximum': 1e20}, [0.4, 0.5, 1, 1e21, 1e22, 100000000000000000001, 1e-7, 123456789012345680.0, 1e16, 0.0001]),
    ({'type': ['integer', 'string'], 'pattern': '^[0-9]+$', 'minimum': 1, 'maximum': 100},
     [0, '0', '1', '101', ' 1', '1\n', '١', '', 'x', 1.5, None, '00000000000000000000000000000000000000000000101']),
    ({'minimum': 1}, ['0', ' 0 ', '+0', '1_0', '0_1', '-5', '0.5', '1e-3', 'x', True, False, None, [], 0.5, 1.5, 'inf', '-inf', 'nan', '0x10', '_1']),
    ({'maximum': 5}, ['6', '5.5', '1e3', 'Infinity', 5.9, '1__0']),
    ({'type': 'string', 'pattern': '^[a-zA-Z0-9-]+$', 'minLength': 1, 'maxLength': 8}, ['', 'a', 'a b', 'ü', 'a\n', 'ééééééééé', 'x' * 9, "o'k", 5]),
    ({'type': 'string', 'pattern': r'[\S]+', 'maxLength': 4}, ['', ' ', '\u00a0', '\u2003', 'a', ' a ', '\x1c', '\n\t', 'ééééé']),
    ({'type': 'string', 'pattern': r'^\w+\d$'}, ['é1', 'a١', 'a', '-1', 'a1\n']),
    ({'type': 'string', 'pattern': '^[^,/]*$'}, ['a,b', 'a/b', 'a\nb', '', '\u2028']),
    ({'type': 'string', 'pattern': '^[a-zA-Z0-9+.-]+:.+'}, ['http://x', 'x', ':x', 'a:']),
    ({'oneOf': [{'type': 'string', 'minLength': 1}, {'type': 'null'}]}, ['a', '', None, 5]),
    ({'oneOf': [{'type': 'string'}, {'maxLength': 3}, {'type': 'integer'}]}, ['abcd', 'abc', 5, []]),
    ({'anyOf': [{'type': 'string', 'minLength': 3}, {'type': 'object', 'properties': {'a': {'type': 'integer'}}, 'required': ['a']}]},
     ['ab', 'abc', {}, {'a': 'x'}, {'a': 1}, None]),
    ({'anyOf': [{'type': 'integer'}, {'type': 'null'}]}, ['x', 5]),
    ({'type': 'object', 'properties': {'x': {'anyOf': [{'type': 'array', 'items': {'type': 'string'}}, {'type': 'string', 'maxLength': 1}]}}},
     [{'x': [1]}, {'x': 'ab'}, {'x': 5}, {'x': ['a', 'b', 3]}]),
    ({'allOf': [{'type': 'string', 'minLength': 1}, {'type': 'string', 'format': 'uuid'}]}, ['', 'x', 5]),
    ({'not': {'type': 'null'}}, [None, 1]),
    ({'type': 'object', 'not': {'required': ['a']}}, [{'a': 1}, {}]),
    ({'type': 'string', 'pattern': '^(?! )[a-zA-Z0-9. _-]+(?<! )$'}, ['a b', ' a', 'a ', 'a\n', 'a \n', ' ', '', '-']),
    ({'type': 'object', 'minProperties': 1, 'maxProperties': 2}, [{}, {'a': 1}, {'a': 1, 'b': 2, 'c': 3}]),
    ({'type': 'object', 'dependencies': {'a': ['b', 'c']}}, [{'a': 1}, {'b': 1}, {'a': 1, 'b': 1}, {'a': 1, 'b': 1, 'c': 1}]),
    ({'type': 'object', 'required': ['b', 'a'], 'properties': {'a': {'type': 'null'}, 'b': {'type': 'boolean'}}}, [{}, {'a': 1}, {'b': 1}, {'b': True, 'a': 0}]),
    ({'type': 'object', 'properties': {'description': {'type': ['string', 'null'], 'description': 'A long text that says at length what it is about, so '
                                                       'that the printer must break it somewhere', 'maxLength': 3}}},
     [{'description': 'four words of text ' * 8}, {'description': 'x' * 100}, {'description': 'a\nb\r\nc' + 'd' * 70 + '\n'}]),
    ({'type': 'object', 'properties': {'a': {'type': 'object', 'properties': {'b': {'type': 'array', 'items': {'type': 'object', 'additionalProperties': False}}}}}},
     [{'a': {'b': [{}, {'c': 1}]}}, {'a': {'b': [1]}}, {'a': {'b': 'x'}}, {'a': {'b': [{'quite_a_long_name_%d' % i: 'value %d' % i for i in range(6)}]}}]),
    ({'type': 'string', 'maxLength': 1}, ['word ' * 30, 'x' * 90, 'it\'s "both"', '\x00\x7f\xa0\u200b\ud7ff\U0001f600\\', "only 'single'"]),
    ({'type': 'array', 'maxItems': 0}, [['word ' * 30], [{'a': 'x' * 60, 'b': ['y' * 40, 'z' * 40]}], [[], {}, '', None, True, 1.0, 1e100, -0.0]]),
]

FORMATS = {
    'uuid': ['12345678-1234-1234-1234-123456789abc', '12345678123412341234123456789ABC', '{12345678-1234-1234-1234-123456789abc}', 'x', '', 'urn:uuid:12345678-1234-1234-1234-123456789abc',
             '12345678-1234-1234-1234-123456789abg', '1234567812341234-1234-123456789abc', '12345678-1234-1234-1234-123456789ab', 5],
    'ipv4': ['1.2.3.4', '1.2.3', '01.2.3.4', '256.1.1.1', '::1', '', '0.0.0.0', '1.2.3.4\n', ' 1.2.3.4'],
    'ipv6': ['::1', '::', '1.2.3.4', '::ffff:1.2.3.4', 'fe80::1%eth0', 'g::', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8:9', '1:2:3:4:5:6:7::', ''],
    'email': ['a@b', 'a', '', '@'],
    'date-time': ['2024-01-01T00:00:00Z', '2024-01-01', '2024-13-01', '2024', '202401', '2024-1', '2024-02-30', '2024-01-01 00:00', 'x', '2024-01-01T00:00:00.123456+09:00',
                  '2024-01-01T24:00:00Z', '20240101T000000Z', '2024-01-01T00:00:60Z', '2024-01-01T00:00:00+0900', '2024-01-01T', '2024-01-01T00', ''],
    'base64': ['YQ==', 'YQ=', 'YQ', 'YWJj', '!!!!', '', 'Y!Q==', 'YWJjZ', 'YQ==YQ', '====', 'a=b=', 'ü'],
    'cidr': ['10.0.0.0/8', '10.0.0.0', '10/8', '10.0.0.0/33', '::/0', '::/129', '10.0.0.0/255.0.0.0', '10.0.0.0/0.255.255.255', '10.0.0.0/ 8', 'x/8', '10.0.0.0/x',
             '10.0.0.0/255.0.255.0', '/', '10.0.0.0/'],
    'name': ['a', ' a', 'a ', 'a b', '', '\x00', 'a\x7f', '\u3000a', 'é', '\U0001f600', 'a\n', ' ', 'a\u200bb'],
    'name_with_leading_trailing_spaces': [' a ', ' ', '', 'a\x00', '\U0001f600', 'a\n'],
    'az_name': ['a', 'a:b', ':', ' a', 'a:'],
    'az_name_with_leading_trailing_spaces': [' a ', 'a:b', ' '],
    'keypair_name_20': ['a b-_9', 'a.b', 'ü', '', 'a@'],
    'keypair_name_292': ['a.b@c', 'a/b'],
    'uri': ['http://x', 'http://x:80/y?z#w', 'x', 'http://', '//x', 'mailto:a@b', 'http://[::1]/', 'http://x/%zz', 'http://a b', 'ftp://u:p@h/', 'http:///x', 'http://x/a b', 'http://x/[', 'http://x?é[', 'http://x#a#b', 'http://x:999999/', 'http://x:/',
            'http://1.2.3.4.5', 'http://u@/', 'http://%41', 'http://%4', 'http://[::1', 'http://[fe80::1%25eth0]/', 'http://é/', 'http://u:é@x/', 'http://x:a', '1http://x', 'http://999.1.1.1'],
    'regex': ['a', '(', '[a', 'a*', '', '\\d', '(?=a)', 'a{2,1}', '(?P<n>a)'],
    'name_skip_leading_trailing_spaces': ['a', ' ', '', 'x' * 256, ' ' * 300 + 'a'],
    'name_non_mandatory_remove_white_spaces': ['a', ' ', '', 'x' * 256, ' ' * 300 + 'a'],
    'description_non_mandatory_remove_white_spaces': ['a', 'x' * 256],
    'availability_zone': ['a', '', ' ', 'x' * 256],
    'key_size': ['256', 'x', '1.5', ''],
    'unknown': ['x'],
}
DIALECT_FORMATS = {
    'nova': ['uuid', 'ipv4', 'ipv6', 'date-time', 'base64', 'cidr', 'name', 'name_with_leading_trailing_spaces', 'az_name',
             'az_name_with_leading_trailing_spaces', 'keypair_name_20', 'keypair_name_292', 'uri', 'regex', 'unknown'],
    'keystone': ['uuid', 'ipv4', 'ipv6', 'email', 'unknown'],
    'glance': ['uuid', 'email'],
    'placement': ['uuid', 'ipv4'],
    'cinder': ['uuid', 'date-time', 'base64', 'name', 'name_skip_leading_trailing_spaces', 'name_non_mandatory_remove_white_spaces',
               'description_non_mandatory_remove_white_spaces', 'availability_zone', 'key_size', 'unknown'],
}
# Lists of schemas, which only draft 4 has.
TUPLES = [
    ({'type': 'array', 'items': [{'type': 'string', 'enum': ['affinity', 'anti-affinity']}], 'uniqueItems': True, 'additionalItems': False},
     [[], ['affinity'], ['x'], ['affinity', 'affinity'], ['affinity', 'x'], ['affinity', 'y', 'x'], 'affinity', [None]]),
]
QUERIES = [
    ({'type': 'object', 'properties': {'limit': {'type': 'array', 'items': {'type': ['integer', 'string'], 'pattern': '^[0-9]*$', 'minimum': 0, 'minLength': 1}},
                                       'marker': {'type': 'array', 'items': {'type': 'string'}, 'maxItems': 1}},
      'patternProperties': {'^_': {'type': 'array', 'items': {'type': 'string', 'maxLength': 1}}}, 'additionalProperties': False},
     [{}, {'limit': ['1']}, {'limit': ['-1']}, {'limit': ['1', '']}, {'limit': ['x']}, {'marker': ['a', 'b']}, {'x': ['1']}, {'_x': ['12']},
      {'x': ['1'], 'y': ['2']}]),
    ({'type': 'object', 'properties': {'name': {'type': 'array', 'items': {'type': 'string', 'format': 'regex'}}}, 'additionalProperties': True},
     [{'name': ['(']}, {'name': ['a']}, {'other': ['x']}]),
]


def random_cases():
    rnd = random.Random(410)
    names = ['a', 'b', 'long_property_name', 'c-d']

    def schema(depth):
        kind = rnd.choice(['object', 'array', 'string', 'integer', 'number', 'boolean', 'null', 'mixed', 'enum', 'oneOf', 'anyOf', 'allOf']
                          if depth else ['string', 'integer', 'boolean', 'null', 'enum', 'mixed'])
        if kind == 'object':
            s = {'type': 'object', 'properties': {n: schema(depth - 1) for n in rnd.sample(names, rnd.randint(1, 3))}}
            if rnd.random() < 0.5:
                s['required'] = rnd.sample(names, rnd.randint(1, 2))
            if rnd.random() < 0.5:
                s['additionalProperties'] = False
            if rnd.random() < 0.2:
                s['patternProperties'] = {'^c': schema(0)}
            if rnd.random() < 0.2:
                s['maxProperties'] = 2
        elif kind == 'array':
            s = {'type': 'array', 'items': schema(depth - 1)}
            if rnd.random() < 0.5:
                s['maxItems'] = 1
            if rnd.random() < 0.5:
                s['uniqueItems'] = True
        elif kind == 'string':
            s = {'type': 'string', 'maxLength': rnd.randint(0, 3), 'pattern': '^[a-z]*$'}
        elif kind in ('integer', 'number'):
            s = {'type': kind, 'minimum': rnd.randint(-1, 2)}
        elif kind == 'mixed':
            s = {'type': rnd.sample(['string', 'null', 'integer', 'array', 'boolean'], 2), 'minLength': 2, 'maximum': 1}
        elif kind == 'enum':
            s = {'enum': rnd.sample(['a', 'b', 1, 0, True, None], 3)}
        elif kind in ('oneOf', 'anyOf', 'allOf'):
            s = {kind: [schema(depth - 1) for _ in range(rnd.randint(2, 3))]}
        else:
            s = {'type': kind}
        if rnd.random() < 0.3:
            items = list(s.items())
            rnd.shuffle(items)
            s = dict(items)
        return s

    def value(depth):
        n = rnd.random()
        if depth and n < 0.4:
            return {k: value(depth - 1) for k in rnd.sample(names + ['other'], rnd.randint(0, 3))}
        if depth and n < 0.55:
            return [value(depth - 1) for _ in range(rnd.randint(0, 3))]
        return rnd.choice(['', 'a', 'abc', 'abcd', 'AB', 0, 1, 2, -5, 1.0, 1.5, True, False, None, [], {}])

    for _ in range(100):
        s = schema(3)
        yield s, [value(3) for _ in range(2)]


def asker(dialect):
    import jsonschema
    if dialect.startswith('nova'):
        from nova import exception
        from nova.api.validation import validators
        body = dialect == 'nova'

        def ask(s, v):
            try:
                validators._SchemaValidator(s, False, body).validate(v)
            except exception.ValidationError as e:
                return e.format_message()
    elif dialect == 'cinder':
        import webob.exc
        from cinder import exception
        from cinder.api.validation import validators

        def ask(s, v):
            try:
                validators._SchemaValidator(s).validate(v)
            except (exception.ValidationError, exception.InvalidInput) as e:
                return e.msg
            except webob.exc.HTTPBadRequest as e:
                return e.explanation
    elif dialect == 'keystone':
        from keystone import exception
        from keystone.common.validation import validators

        def ask(s, v):
            try:
                validators.SchemaValidator(s).validate(v)
            except exception.SchemaValidationError as e:
                return str(e)
    else:
        import placement.util  # noqa: registers uuid
        kw = {'format_checker': jsonschema.FormatChecker()} if dialect == 'placement' else {}
        prefix = 'JSON does not validate: ' if kw else ''

        def ask(s, v):
            try:
                jsonschema.validate(v, s, **kw)
            except jsonschema.ValidationError as e:
                return prefix + str(e)

    def careful(s, v):
        try:
            return ask(s, v)
        except Exception as e:  # upstream answers 500: nothing to compare
            print(dialect, s, repr(v), repr(e)[:80], file=sys.stderr)
            return '?'
    return careful


def cases(dialect):
    if dialect == 'nova-query':
        yield from QUERIES
        return
    yield from FIXED
    if dialect in ('nova', 'keystone', 'cinder'):
        yield from TUPLES
    for f in DIALECT_FORMATS[dialect]:
        yield {'type': 'object', 'properties': {'x': {'type': 'string', 'format': f}}}, [{'x': v} for v in FORMATS[f]]
    yield from random_cases()


# Our names of the services' shared types, per module that defines them.
TYPES = {
    'nova.api.validation.parameter_types': {
        'NovaBool': 'boolean', 'NovaName': 'name', 'NovaNameOrNone': 'name_or_none', 'NovaAZName': 'az_name',
        'NovaKeypairName20': 'keypair_name_special_chars', 'NovaPositive': 'positive_integer', 'NovaNonNegative': 'non_negative_integer',
        'NovaVolumeSize': 'volume_size', 'NovaFlavorNonNegative': 'flavor_param_non_negative', 'NovaHostname': 'hostname', 'NovaFQDN': 'fqdn',
        'NovaProjectID': 'project_id', 'UUID': 'server_id', 'NovaImageIDOrEmpty': 'image_id_or_empty_string', 'NovaFlavorRef': 'flavor_ref',
        'NovaMetadata': 'metadata', 'NovaMetadataWithNull': 'metadata_with_null', 'NovaMAC': 'mac_address', 'NovaIP': 'ip_address',
        'NovaDiskConfig': 'disk_config', 'NovaPersonality': 'personality', 'NovaTag': 'tag', 'NovaTrustedCerts': 'trusted_certs',
        'NovaQuery': 'common_query_param', 'NovaQueryRegex': 'common_query_regex_param', 'NovaPage': 'pagination_parameters'},
    'keystone.common.validation.parameter_types': {
        'KeystoneBool': 'boolean', 'KeystoneName': 'name', 'KeystoneID': 'id_string', 'KeystoneExternalID': 'external_id_string',
        'KeystoneURL': 'url', 'KeystoneEmail': 'email'},
    'keystone.resource.schema': {'KeystoneTags': 'project_tags_update'},
    'cinder.api.validation.parameter_types': {
        'CinderBool': 'boolean', 'CinderName': 'name', 'CinderNameOrNull': 'name_allow_zero_min_length', 'CinderUUIDOrNull': 'uuid_allow_null',
        'CinderExtraSpecs': 'extra_specs', 'CinderMetadataOrNull': 'metadata_allows_null', 'CinderVolumeSize': 'volume_size',
        'CinderAZ': 'availability_zone'},
}


def types(module):
    mod = importlib.import_module(module)
    return {ours: getattr(mod, theirs) for ours, theirs in TYPES[module].items()}


def child(*args):
    """Runs this file in a process of its own: the services' options and formats collide."""
    out = subprocess.run([sys.executable, '-W', 'ignore', __file__, *args], check=True, stdout=subprocess.PIPE).stdout
    return json.loads(out)


def main():
    if sys.argv[1] == '--dialect':
        ask = asker(sys.argv[2])
        out = [[s, [[v, ask(s, v)] for v in values]] for s, values in cases(sys.argv[2])]
        json.dump(out, sys.stdout, ensure_ascii=True)
        return
    if sys.argv[1] == '--types':
        json.dump(types(sys.argv[2]), sys.stdout)
        return
    lines = []
    for d in ['nova', 'nova-query', 'keystone', 'cinder', 'glance', 'placement']:
        res = child('--dialect', d)
        lines += [json.dumps([d, s, vs], ensure_ascii=True) for s, vs in res]
    expr = subprocess.run([sys.executable, '-c', 'from nova.api.validation import parameter_types as p; print(p.valid_description_regex, end="")'],
                          check=True, stdout=subprocess.PIPE).stdout
    with open(os.path.join(os.path.dirname(sys.argv[1]), 'description_pattern.txt'), 'wb') as f:
        f.write(expr)
    with open(os.path.join(os.path.dirname(sys.argv[1]), 'types.json'), 'w') as f:
        json.dump({k: v for m in TYPES for k, v in child('--types', m).items()}, f, indent=0)
    with open(sys.argv[1], 'w') as f:
        f.write('[\n' + ',\n'.join(lines) + '\n]\n')


main()
