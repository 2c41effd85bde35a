"""A session of keystoneauth1's plugin v3oauth2mtlsclientcredential: AUTH_URL CLIENT_ID CERT KEY CACERT."""
import sys

from keystoneauth1 import exceptions, loading, session

auth_url, client, cert, key, cacert = sys.argv[1:]
auth = loading.get_plugin_loader('v3oauth2mtlsclientcredential').load_from_options(
    auth_url=auth_url, oauth2_endpoint=auth_url + '/OS-OAUTH2/token', oauth2_client_id=client)
mine = session.Session(auth=auth, verify=cacert, cert=(cert, key))
assert auth.get_access(mine).user_id == client
for service, path in ('compute', '/servers'), ('network', '/v2.0/networks'), ('image', '/v2/images'):
    assert mine.get(path, endpoint_filter={'service_type': service, 'interface': 'public'}).status_code == 200, service
# The token alone is worth nothing.
try:
    session.Session(verify=cacert).get(auth_url + '/auth/projects', headers=auth.get_headers(mine))
except exceptions.Unauthorized:
    print('good')
