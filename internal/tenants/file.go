package tenants

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/nats-io/nkeys"

	"writeback/internal/config"
)

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
	if err := o.acquire(); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		o.Close()
		return nil, fmt.Errorf("%s: file exists", path)
	}
	if err := o.save(); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// Open reads the file at path, and keeps others from opening it until Close.
func Open(path string) (*Operator, error) {
	m, err := model()
	if err != nil {
		return nil, err
	}
	o := &Operator{path: path, model: m}
	if err := o.acquire(); err != nil {
		return nil, err
	}
	if err := o.read(); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// Close lets others open the file.
func (o *Operator) Close() {
	syscall.Flock(int(o.lock.Fd()), syscall.LOCK_UN) // a child that is being started may have the descriptor too
	o.lock.Close()
}

// acquire locks the folder of the file: the file itself is replaced.
func (o *Operator) acquire() (err error) {
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
	f, err := config.OpenSecret(o.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := o.decode(f); err != nil {
		return fmt.Errorf("%s: %w", o.path, err)
	}
	return nil
}

func (o *Operator) decode(r io.Reader) error {
	dec := json.NewDecoder(io.LimitReader(r, maxFile))
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
	if o.state.Tenants == nil {
		return errors.New("tenants: is missing")
	}
	for name, t := range o.state.Tenants {
		if t == nil {
			return fmt.Errorf("tenants.%s: is empty", name)
		}
		if err := o.check("tenants."+name, t.Accounts, ofTenant); err != nil {
			return err
		}
	}
	return nil
}

// check returns an error unless the accounts that are meant have their keys.
func (o *Operator) check(where string, have map[string]*keys, meant func(string) bool) error {
	for name := range o.model {
		if k := have[name]; meant(name) && (k == nil || k.Users == nil || !nkeys.IsValidPublicAccountKey(k.Key) || !isSeed(k.Signer, nkeys.PrefixByteAccount)) {
			return fmt.Errorf("%s: account %s lacks a key, or its users", where, name)
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
	// Nobody else writes it, since the folder is locked; what a crash left is in it
	// must not stay, and whose mode that had must not count.
	unfinished := o.path + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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
