package tenants

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

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
}

type tenant struct {
	Limits
	Accounts map[string]*keys `json:"accounts"`
}

// Limits are what a tenant may use of the broker.
type Limits struct {
	Storage     int64 `json:"storage"`     // bytes on disk, all copies of a cluster together
	Connections int   `json:"connections"` // of its consumers, and as many of its auditors
}

// keys are those of an account.
type keys struct {
	Key     string            `json:"key"`    // A…, by which the broker knows it; its seed was thrown away
	Signer  string            `json:"signer"` // seed (SA…) that signs its users, and nothing else
	Users   map[string]string `json:"users"`  // public keys (U…) by name
	Revoked map[string]int64  `json:"revoked,omitempty"`
}

// maxFile is far above what some thousand tenants take.
const maxFile = 64 << 20

// Create makes the file of a new operator at path.
func Create(path string) (*Operator, error) {
	m, err := model()
	if err != nil {
		return nil, err
	}
	seed, err := newSeed(nkeys.CreateOperator)
	if err != nil {
		return nil, err
	}
	o := &Operator{path: path, model: m, state: state{Operator: seed, Tenants: make(map[string]*tenant)}}
	if o.state.Accounts, err = o.newKeys(func(name string) bool { return !ofTenant(name) }); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if err := o.claim(); err != nil {
		return nil, err
	}
	return o, o.save()
}

// Open reads the file at path, and keeps others from opening it until Close.
func Open(path string) (*Operator, error) {
	m, err := model()
	if err != nil {
		return nil, err
	}
	o := &Operator{path: path, model: m}
	if err := o.claim(); err != nil {
		return nil, err
	}
	if err := o.read(); err != nil {
		o.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return o, nil
}

// Close lets others open the file.
func (o *Operator) Close() {
	syscall.Flock(int(o.lock.Fd()), syscall.LOCK_UN) // a child that is being started may have the descriptor too
	o.lock.Close()
}

// claim locks the folder of the file: the file itself is replaced.
func (o *Operator) claim() (err error) {
	if o.lock, err = os.Open(filepath.Dir(o.path)); err != nil {
		return err
	}
	if err := syscall.Flock(int(o.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		o.lock.Close()
		return fmt.Errorf("%s: another command is using it: %w", o.path, err)
	}
	return nil
}

func (o *Operator) read() error {
	f, err := os.OpenFile(o.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return fmt.Errorf("mode %04o; it must be a regular file that only its owner can read: use mode 0600", mode.Perm())
	}
	dec := json.NewDecoder(io.LimitReader(f, maxFile))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o.state); err != nil {
		return errors.New("is not what `publisher tenant init` made") // the decoder's words may hold a key
	}
	if !isSeed(o.state.Operator, nkeys.PrefixByteOperator) {
		return errors.New("operator: is not the seed of an operator (SO…)")
	}
	if err := o.check("accounts", o.state.Accounts, func(name string) bool { return !ofTenant(name) }); err != nil {
		return err
	}
	for name, t := range o.state.Tenants {
		if err := o.check("tenants."+name, t.Accounts, ofTenant); err != nil {
			return err
		}
	}
	return nil
}

// check returns an error unless the accounts that are meant have their keys.
func (o *Operator) check(where string, have map[string]*keys, meant func(string) bool) error {
	for name := range o.model {
		if k := have[name]; meant(name) && (k == nil || !nkeys.IsValidPublicAccountKey(k.Key) || !isSeed(k.Signer, nkeys.PrefixByteAccount)) {
			return fmt.Errorf("%s: account %s lacks a key", where, name)
		}
	}
	return nil
}

func isSeed(seed string, kind nkeys.PrefixByte) bool {
	prefix, _, err := nkeys.DecodeSeed([]byte(seed))
	return err == nil && prefix == kind
}

// save replaces the file.
func (o *Operator) save() error {
	text, err := json.MarshalIndent(o.state, "", " ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(o.path), filepath.Base(o.path)+".*.new") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), o.path); err != nil {
		return err
	}
	return o.lock.Sync()
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
	if k.Revoked == nil {
		k.Revoked = make(map[string]int64)
	}
	k.Revoked[k.Users[user]] = time.Now().Unix()
	delete(k.Users, user)
	return o.save()
}
