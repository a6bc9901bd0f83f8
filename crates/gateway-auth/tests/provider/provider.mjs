// A certified OpenID provider (npm oidc-provider) on loopback, with new signing keys every ROTATE milliseconds.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const port = Number(process.env.PORT);
const rotate = Number(process.env.ROTATE ?? 0);
const issuer = `http://127.0.0.1:${port}`;
const KEPT = 8;

// What it has given out, for all providers of this process: one that has new keys knows the tokens of the last.
const stored = new Map();
class Adapter {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload) { stored.set(this.key(id), payload); }
  async find(id) { return stored.get(this.key(id)); }
  async findByUid(uid) {
    return [...stored].find(([key, payload]) => key.startsWith(`${this.model}:`) && payload.uid === uid)?.[1];
  }
  async consume(id) { stored.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { stored.delete(this.key(id)); }
  async revokeByGrantId(grantId) {
    for (const [key, payload] of stored) if (payload.grantId === grantId) stored.delete(key);
  }
}

// Clients without a password in their requests: their keys are made by the tests.
const keyed = Object.entries(JSON.parse(process.env.CLIENTS ?? '{}')).map(([client_id, jwk]) => ({
  client_id,
  ...(jwk
    ? { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk] } }
    : { token_endpoint_auth_method: 'client_secret_jwt', client_secret: 'a secret of 32 bytes, or a few more' }),
  grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
  response_types: ['code'],
  redirect_uris: ['https://shop.example/oauth2/callback'],
}));

const claims = (id) => ({ sub: id, name: id, email: `${id}@example.com`, email_verified: true });
const configuration = (keys) => ({
  adapter: Adapter,
  jwks: { keys },
  cookies: { keys: ['for tests only'] },
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  clients: [
    {
      client_id: 'shop',
      client_secret: 'shop secret: with/odd characters+',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: ['https://shop.example/oauth2/callback'],
      post_logout_redirect_uris: ['https://shop.example/goodbye'],
    },
    { client_id: 'public', token_endpoint_auth_method: 'none', redirect_uris: ['https://shop.example/oauth2/callback'] },
    {
      client_id: 'robot',
      client_secret: 'robot secret',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    },
    {
      client_id: 'gateway',
      client_secret: 'gateway secret',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    },
    ...keyed,
  ],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  findAccount: async (_, id) => ({ accountId: id, claims: async () => claims(id) }),
  issueRefreshToken: async (_, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  pkce: { required: () => true },
  scopes: ['openid', 'profile', 'email', 'orders'],
  ttl: { AccessToken: 4, IdToken: 60, ClientCredentials: 60, RefreshToken: 600, Grant: 600, Session: 600, Interaction: 600 },
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: async () => true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: async (_, resource) => ({
        scope: 'orders',
        audience: resource,
        accessTokenFormat: resource === 'urn:opaque' ? 'opaque' : 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});

// Keys are set when a provider is made: for new ones there is a new provider.
let keys = [];
let handle;
function turn() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'ES256' };
  keys = [key, ...keys].slice(0, KEPT);
  const provider = new Provider(issuer, configuration(keys));
  // What it says no to, and why: a failed test shows it.
  provider.on('grant.error', (_, error) => console.error(error.message, error.error_detail ?? ''));
  handle = provider.callback();
  console.log(`key ${key.kid}`);
}
turn();
if (rotate) setInterval(turn, rotate);
createServer((request, response) => handle(request, response)).listen(port, '127.0.0.1', () => console.log('ready'));
