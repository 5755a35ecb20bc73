package tenants

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

	"writeback/internal/queue"
	"writeback/internal/reset"
)

// An Operator is who signs the accounts of a broker and their users. All of it is
// one file that only its owner can read: who has it has the broker.
type Operator struct {
	path  string
	model map[string]account
	state state
	lock  *os.File
}

// state is the file.
type state struct {
	Operator string             `json:"operator"` // seed (SO…)
	Accounts map[string]*keys   `json:"accounts"` // of the broker, by their name in accounts.conf
	Tenants  map[string]*tenant `json:"tenants"`
	Told     int64              `json:"told"` // when the broker was last told of something, in Unix seconds
}

type tenant struct {
	Limits
	Accounts map[string]*keys `json:"accounts"`
	Streams  bool             `json:"streams"` // were made: if they are not there any more, something is wrong
}

// Limits are what a tenant may use of the broker.
type Limits struct {
	Storage     int64 `json:"storage"`     // bytes on disk, all copies of a cluster together
	Connections int   `json:"connections"` // of its consumers, and as many of its auditors
}

// keys are those of an account.
type keys struct {
	Key     string            `json:"key"`               // A…, by which the broker knows it; its seed was thrown away
	Signer  string            `json:"signer"`            // seed (SA…) that signs its users, and nothing else
	Users   map[string]string `json:"users"`             // public keys (U…) by name
	Revoked []string          `json:"revoked,omitempty"` // public keys of users that were
}

// newSeed makes a key of a kind and returns its seed.
func newSeed(create func() (nkeys.KeyPair, error)) (string, error) {
	key, err := create()
	if err != nil {
		return "", err
	}
	seed, err := key.Seed()
	return string(seed), err
}

// Renew replaces every key of the file, after a theft. Accounts stay what they
// are, with their streams; nobody is a user any more. The broker needs the file of
// [Operator.BrokerConfig] and a restart, and then all of [Operator.Push].
func (o *Operator) Renew() (err error) {
	if o.state.Operator, err = newSeed(nkeys.CreateOperator); err != nil {
		return err
	}
	groups := []map[string]*keys{o.state.Accounts}
	for _, t := range o.state.Tenants {
		groups = append(groups, t.Accounts)
	}
	for _, group := range groups {
		for _, k := range group {
			if k.Signer, err = newSeed(nkeys.CreateAccount); err != nil {
				return err
			}
			k.Users, k.Revoked = make(map[string]string), nil
		}
	}
	return o.save()
}

func (o *Operator) newKeys(meant func(string) bool) (map[string]*keys, error) {
	all := make(map[string]*keys)
	for name := range o.model {
		if !meant(name) {
			continue
		}
		identity, err := nkeys.CreateAccount()
		if err != nil {
			return nil, err
		}
		k := &keys{Users: make(map[string]string)}
		if k.Signer, err = newSeed(nkeys.CreateAccount); err != nil {
			return nil, err
		}
		if k.Key, err = identity.PublicKey(); err != nil {
			return nil, err
		}
		all[name] = k
	}
	return all, nil
}

// keys returns those of an account of the model, of the broker if tenant is empty.
func (o *Operator) keys(tenant, name string) *keys {
	if tenant == "" {
		return o.state.Accounts[name]
	}
	return o.state.Tenants[tenant].Accounts[name]
}

// Tenants returns the names of all tenants, sorted.
func (o *Operator) Tenants() []string { return slices.Sorted(maps.Keys(o.state.Tenants)) }

// Limits returns those of a tenant.
func (o *Operator) Limits(name string) Limits { return o.state.Tenants[name].Limits }

// Users returns the names of a tenant's users by their role, of the broker's if
// tenant is empty.
func (o *Operator) Users(tenant string) map[queue.Role][]string {
	users := make(map[queue.Role][]string)
	for name, a := range o.model {
		if ofTenant(name) == (tenant != "") {
			users[a.role] = slices.Sorted(maps.Keys(o.keys(tenant, name).Users))
		}
	}
	return users
}

func (l Limits) check() error {
	if l.Storage <= 0 || l.Connections <= 0 {
		return errors.New("storage and connections must be more than 0")
	}
	return nil
}

// Limit gives a tenant other limits. The broker knows of it after [Operator.Push].
func (o *Operator) Limit(name string, l Limits) error {
	t := o.state.Tenants[name]
	if t == nil {
		return unknown(name)
	}
	if err := l.check(); err != nil {
		return fmt.Errorf("tenant %s: %w", name, err)
	}
	t.Limits = l
	return o.save()
}

// Add makes a tenant. The broker knows of it after [Operator.Push].
func (o *Operator) Add(name string, l Limits) error {
	switch err := reset.ValidName(name); {
	case err != nil:
		return fmt.Errorf("tenant %q: %w", name, err)
	case o.state.Tenants[name] != nil:
		return fmt.Errorf("tenant %s: is there already", name)
	}
	if err := l.check(); err != nil {
		return fmt.Errorf("tenant %s: %w", name, err)
	}
	accounts, err := o.newKeys(ofTenant)
	if err != nil {
		return err
	}
	o.state.Tenants[name] = &tenant{Limits: l, Accounts: accounts}
	return o.save()
}

func unknown(tenant string) error { return fmt.Errorf("tenant %q: there is none of that name", tenant) }

// account returns the account of the users with a role.
func (o *Operator) account(tenant string, role queue.Role) (name string, k *keys, err error) {
	if tenant != "" && o.state.Tenants[tenant] == nil {
		return "", nil, unknown(tenant)
	}
	var can []string
	for name, a := range o.model {
		if ofTenant(name) != (tenant != "") || a.role == queue.Operator {
			continue
		}
		if a.role == role {
			return name, o.keys(tenant, name), nil
		}
		can = append(can, string(a.role))
	}
	slices.Sort(can)
	whose := "that is of no tenant"
	if tenant != "" {
		whose = "of a tenant"
	}
	return "", nil, fmt.Errorf("role %q: a user %s is one of %s", role, whose, strings.Join(can, ", "))
}

// Credential makes a user and returns the file that it signs in with. The broker
// need not be told of it.
func (o *Operator) Credential(tenant string, role queue.Role, user string) ([]byte, error) {
	if err := reset.ValidName(user); err != nil {
		return nil, fmt.Errorf("user %q: %w", user, err)
	}
	_, k, err := o.account(tenant, role)
	if err != nil {
		return nil, err
	}
	if k.Users[user] != "" {
		return nil, fmt.Errorf("user %s: is there already; revoke it first", user)
	}
	public, file, err := credentials(k, user, 0)
	if err != nil {
		return nil, err
	}
	k.Users[user] = public
	return file, o.save()
}

// Revoke takes a user away. The broker knows of it after [Operator.PushRole].
func (o *Operator) Revoke(tenant string, role queue.Role, user string) error {
	_, k, err := o.account(tenant, role)
	if err != nil {
		return err
	}
	if k.Users[user] == "" {
		return fmt.Errorf("user %q: there is none of that name", user)
	}
	k.Revoked = append(k.Revoked, k.Users[user])
	delete(k.Users, user)
	return o.save()
}
