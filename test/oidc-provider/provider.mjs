// An OpenID Connect provider for tests: npm's oidc-provider with its built-in login pages, on a port of its own. It ends with its standard input.
//
//   node provider.mjs < settings (one line of JSON: clients, users, jwks; port and down are optional)
//
// The first line of its output is {"issuer": "http://127.0.0.1:PORT"}. The password of user x is pw-x.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider, { errors } from 'oidc-provider';

const lines = createInterface({ input: process.stdin });
const settings = JSON.parse(await new Promise((resolve) => lines.once('line', resolve)));
lines.on('close', () => process.exit(0));

const server = createServer();
await new Promise((resolve) => server.listen(settings.port ?? 0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const users = new Map(Object.entries(settings.users));
const provider = new Provider(issuer, {
  clients: settings.clients,
  jwks: settings.jwks,
  cookies: { keys: ['a test needs no secret here'] },
  claims: { openid: ['sub'], email: ['email'], profile: ['name', 'groups', 'department'] },
  findAccount: (ctx, id) => users.has(id) ? { accountId: id, claims: () => ({ sub: id, ...users.get(id) }) } : undefined,
  pkce: { required: () => true, methods: ['S256'] },
  ttl: { AccessToken: 600, ClientCredentials: 600, IdToken: 600, Interaction: 600, Session: 600, Grant: 600 },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => ({ scope: 'openid email profile cloud', audience: resource, accessTokenFormat: 'jwt' }),
    },
  },
});

// Clients like openstackclient use the password grant, which newer standards advise against and the package therefore leaves to its user.
provider.registerGrantType('password', async (ctx, next) => {
  const { username, password, scope } = ctx.oidc.params;
  if (!users.has(username) || password !== `pw-${username}`) throw new errors.InvalidGrant('wrong user or password');
  const { client } = ctx.oidc;
  const account = await provider.Account.findAccount(ctx, username);
  ctx.oidc.entity('Account', account);
  const grant = new provider.Grant({ clientId: client.clientId, accountId: username });
  grant.addOIDCScope(scope);
  const grantId = await grant.save();
  const access = new provider.AccessToken({ accountId: username, client, grantId, gty: 'password', scope });
  const id = new provider.IdToken({ ...await account.claims('id_token', scope) }, { ctx });
  id.scope = scope;
  ctx.body = {
    access_token: await access.save(), token_type: 'Bearer', expires_in: access.expiration, scope,
    id_token: await id.issue({ use: 'idtoken' }),
  };
  await next();
}, ['username', 'password', 'scope']);

server.on('request', provider.callback());
console.log(JSON.stringify({ issuer }));
