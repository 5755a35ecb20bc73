package tenants

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"writeback/internal/queue"
)

// never is a time in Unix seconds that no user is made after, whatever a clock says.
const never = 1 << 40

// maxPayload is that of nats-server.conf. The server's own is higher in operator
// mode, for the publishers' account, whose document grows with every tenant.
const maxPayload = 64 << 10

// claims returns the document of an account, of the broker if tenant is empty.
func (o *Operator) claims(tenant, name string) (*jwt.AccountClaims, error) {
	a, keys := o.model[name], o.keys(tenant, name)
	c := jwt.NewAccountClaims(keys.Key)
	c.Name = strings.ToLower(strings.Replace(name, modelAccount, tenant, 1))
	c.Limits.LeafNodeConn = 0
	if name != accountSystem {
		c.Limits.Payload = maxPayload
	}
	if t := o.state.Tenants[tenant]; t != nil {
		c.Limits.Conn = int64(t.Connections)
		if a.streams {
			streams, consumers := queue.Held()
			c.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: t.Storage, Streams: int64(streams), Consumer: int64(consumers)}
		}
	}
	for _, e := range a.exports {
		export := &jwt.Export{Subject: jwt.Subject(e.subject), Type: jwt.Service, ResponseType: jwt.ResponseTypeSingleton}
		if e.stream {
			export.Type, export.ResponseType = jwt.Stream, ""
		} else if e.many {
			export.ResponseType = jwt.ResponseTypeStream
		}
		c.Exports.Add(export)
	}
	for _, i := range a.imports {
		tenants := []string{tenant}
		if tenant == "" && ofTenant(i.account) {
			tenants = o.Tenants()
		}
		for _, t := range tenants {
			from := t
			if !ofTenant(i.account) {
				from = ""
			}
			c.Imports.Add(imported(i, t, o.keys(from, i.account).Key))
		}
	}
	if err := addSigner(c, keys.Signer, permissions(tenant, a.publish), permissions(tenant, a.subscribe)); err != nil {
		return nil, err
	}
	for _, user := range keys.Revoked {
		c.RevokeAt(user, time.Unix(never, 0))
	}
	return c, nil
}

func imported(i share, tenant, account string) *jwt.Import {
	c := &jwt.Import{Subject: jwt.Subject(i.subject), Account: account, LocalSubject: jwt.RenamingSubject(rename(i.to, tenant)), Type: jwt.Service}
	if i.stream {
		c.Type = jwt.Stream
	}
	return c
}

// permissions are the model's for a tenant. A user of all tenants has them under
// any name, because the broker ends the connections of users whose permissions
// change: there is nothing under a name that its account does not import.
func permissions(tenant string, subjects []string) jwt.Permission {
	if tenant == "" {
		tenant = "*"
	}
	var p jwt.Permission
	for _, s := range subjects {
		p.Allow.Add(rename(s, tenant))
	}
	return p
}

// addSigner lets the users that a key signs into an account, with permissions
// that are the account's and not theirs.
func addSigner(c *jwt.AccountClaims, seed string, publish, subscribe jwt.Permission) error {
	signer, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return err
	}
	scope := jwt.NewUserScope()
	if scope.Key, err = signer.PublicKey(); err != nil {
		return err
	}
	scope.Template.Pub, scope.Template.Sub = publish, subscribe
	c.SigningKeys.AddScopedSigner(scope)
	return nil
}

// self returns the operator's key and its public half.
func (o *Operator) self() (key nkeys.KeyPair, public string, err error) {
	if key, err = nkeys.FromSeed([]byte(o.state.Operator)); err != nil {
		return nil, "", err
	}
	public, err = key.PublicKey()
	return key, public, err
}

// sign returns the document of an account, in the operator's name.
func (o *Operator) sign(c *jwt.AccountClaims) (string, error) {
	operator, _, err := o.self()
	if err != nil {
		return "", err
	}
	text, err := c.Encode(operator)
	if err != nil {
		return "", fmt.Errorf("signing account %s: %w", c.Name, err)
	}
	return text, nil
}

// documents are the signed documents of accounts.
func (o *Operator) documents(tenant string, names ...string) ([]string, error) {
	var list []string
	for _, name := range names {
		c, err := o.claims(tenant, name)
		if err != nil {
			return nil, err
		}
		text, err := o.sign(c)
		if err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, nil
}

// tenantAccounts are the names of a tenant's accounts in the model, the one with
// the streams first.
func (o *Operator) tenantAccounts() []string {
	names := slices.Sorted(maps.Keys(o.model))
	return slices.DeleteFunc(names, func(name string) bool { return !ofTenant(name) })
}

// deletion is the request to forget accounts.
func (o *Operator) deletion(accounts []string) (string, error) {
	operator, public, err := o.self()
	if err != nil {
		return "", err
	}
	c := jwt.NewGenericClaims(public)
	c.Data["accounts"] = accounts
	return c.Encode(operator)
}

// credentials makes a user of an account: the key that it returns, and the file
// that a program signs in with. It is good until the account revokes it, or for a
// while if that is not 0.
func credentials(k *keys, name string, good time.Duration) (public string, file []byte, err error) {
	signer, err := nkeys.FromSeed([]byte(k.Signer))
	if err != nil {
		return "", nil, err
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		return "", nil, err
	}
	if public, err = user.PublicKey(); err != nil {
		return "", nil, err
	}
	seed, err := user.Seed()
	if err != nil {
		return "", nil, err
	}
	defer clear(seed)
	c := jwt.NewUserClaims(public)
	c.Name, c.IssuerAccount = name, k.Key
	c.SetScoped(true)
	if good != 0 {
		c.Expires = time.Now().Add(good).Unix()
	}
	text, err := c.Encode(signer)
	if err != nil {
		return "", nil, err
	}
	file, err = jwt.FormatUserConfig(text, seed)
	return public, file, err
}

// BrokerConfig is the file that takes the place of nats/accounts.conf.
func (o *Operator) BrokerConfig() (string, error) {
	operator, public, err := o.self()
	if err != nil {
		return "", err
	}
	c := jwt.NewOperatorClaims(public)
	c.Name = "writeback"
	text, err := c.Encode(operator)
	if err != nil {
		return "", err
	}
	// Not the publishers': an older one in here must not come back.
	preload, err := o.documents("", accountSystem, accountSettings)
	if err != nil {
		return "", err
	}
	system, settings := o.keys("", accountSystem).Key, o.keys("", accountSettings).Key
	return fmt.Sprintf(brokerConfig, text, system, system, preload[0], settings, preload[1]), nil
}

const brokerConfig = `# Made by "publisher tenant init": it takes the place of nats/accounts.conf where
# tenants are made while the broker runs. There is no secret in it.

# Who signs accounts.
operator: %s
system_account: %s

# Where the broker keeps the accounts that it is told of, each node in a directory
# of its own.
resolver: {
  type: full
  dir: $WRITEBACK_NATS_ACCOUNTS
  allow_delete: true
  # How soon a node that was away learns what it missed.
  interval: "2s"
}
resolver_preload: {
  %s: %s
  %s: %s
}

# For the publishers' account, which names all tenants. Every account has 64 KB as
# its own limit.
max_payload: 8MB
`
