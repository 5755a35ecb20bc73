// A real OpenID Connect provider for tests: oidc-provider with one client, whose
// users sign in with their names alone, or with claims for a user that is new. It reads its settings from standard input,
// writes its issuer to standard output and ends with its parent.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { text } from 'node:stream/consumers';
import Provider from 'oidc-provider';

const settings = JSON.parse(readFileSync(0, 'utf8'));
const server = createServer({ cert: readFileSync(settings.cert), key: readFileSync(settings.key) });
await new Promise((ready) => server.listen(settings.port, '127.0.0.1', ready));
const issuer = `https://127.0.0.1:${server.address().port}`;

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const provider = new Provider(issuer, {
  clients: [{
    client_id: settings.client_id,
    client_secret: settings.client_secret,
    redirect_uris: settings.redirect_uris,
    response_types: ['code'],
    grant_types: ['authorization_code'],
    id_token_signed_response_alg: 'ES256',
  }],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'test' }] },
  enabledJWA: { idTokenSigningAlgValues: ['ES256', 'RS256'] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  claims: { openid: ['sub'], profile: settings.claims },
  conformIdTokenClaims: false, // as others do: what is configured stands in the ID token
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  pkce: { required: () => true },
  findAccount: (_, id) => settings.users[id] && { accountId: id, claims: () => ({ sub: id, ...settings.users[id] }) },
  // The organisation has agreed for all of its users.
  async loadExistingGrant(ctx) {
    const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid profile');
    await grant.save();
    return grant;
  },
});

const form = `<!doctype html><html lang="en"><title>Test provider</title>
<form method="post"><label>User <input name="user" autofocus></label> <label>Claims <input name="claims"></label>
<button name="do" value="in">Sign in</button> <button name="do" value="cancel">Cancel</button></form></html>`;

const answer = provider.callback();
server.on('request', async (req, res) => {
  if (!req.url.startsWith('/interaction/')) {
    answer(req, res);
    return;
  }
  try {
    await provider.interactionDetails(req, res);
    if (req.method !== 'POST') {
      res.setHeader('Content-Type', 'text/html; charset=utf-8').end(form);
      return;
    }
    const posted = new URLSearchParams(await text(req));
    const accountId = posted.get('user');
    if (posted.get('claims')) settings.users[accountId] = JSON.parse(posted.get('claims'));
    const result = posted.get('do') === 'in' && settings.users[accountId]
      ? { login: { accountId } }
      : { error: 'access_denied' };
    await provider.interactionFinished(req, res, result);
  } catch (err) {
    res.writeHead(400).end(String(err));
  }
});
process.stdout.write(`${issuer}\n`);
