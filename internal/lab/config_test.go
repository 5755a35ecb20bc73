package lab

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v3"

	"writeback/internal/testkit/pki"
)

// forbidden returns the address of a listener that no program may connect to
// while it is given wrong configurations.
func forbidden(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Close()
			t.Error("a program with a wrong configuration connected to what it names")
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	return ln.Addr().String()
}

// validConfig writes configurations to dir that nothing is wrong with, with keys
// made by the programs. Everything that could be connected to is at address.
func validConfig(t *testing.T, dir, address string) error {
	l := &Lab{opts: Options{Bin: binaries(t)}}
	publisherKey, err := l.publicKey(t.Context(), "publisher", dir)
	if err != nil {
		return err
	}
	consumerKey, err := l.publicKey(t.Context(), "consumer", dir)
	if err != nil {
		return err
	}
	if _, err := l.call(t.Context(), "publisher", "init", "-role", "provisioner", "-dir", dir); err != nil {
		return err
	}
	if _, err := l.call(t.Context(), "publisher", "init", "-role", "auditor", "-dir", dir); err != nil {
		return err
	}
	authority, err := pki.New(dir) // ca.pem
	if err != nil {
		return err
	}
	for name, edit := range map[string]pki.Option{
		"caller": func(*x509.Certificate) {}, // for servers too
		"server": func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"ended": func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().AddDate(0, 0, -2), time.Now().AddDate(0, 0, -1)
		},
	} {
		if _, err := authority.Server(name, nil, edit); err != nil {
			return err
		}
	}
	broker := func(user string) node {
		return node{"url": "tls://" + address, "ca_file": "ca.pem", "nkey_file": user + ".nk"}
	}
	for name, text := range map[string]string{
		"tokens.json": "", "ad-password": "made up\n", "policy.yaml": "bases: ['OU=Staff,DC=corp,DC=example,DC=com']\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	consumer := node{
		"tenant": "corp", "replica": "one", "operations_listen": "127.0.0.1:0", "broker": broker("consumer"),
		"signing_key_file": "consumer.key", "policy_file": "policy.yaml", "publishers": []node{{"key": publisherKey}},
		"directory": node{
			"urls": []string{"ldaps://" + address}, "ca_file": "ca.pem",
			"bind_dn": "CN=svc,DC=corp,DC=example,DC=com", "password_file": "ad-password",
		},
	}
	onDisk := maps.Clone(consumer)
	onDisk["runtime_dir"] = "keys"
	return errors.Join(
		write(filepath.Join(dir, "publisher.yaml"), node{
			"listen": "127.0.0.1:0", "operations_listen": "127.0.0.1:0", "broker": broker("publisher"),
			"signing_key_file": "publisher.key", "slot_key_file": "slot.key", "record_key_file": "record.key",
			"tokens_file": "tokens.json",
			"tenants":     []node{{"name": "corp", "consumers": []node{{"key": consumerKey}}}},
		}),
		write(filepath.Join(dir, "consumer.yaml"), consumer),
		write(filepath.Join(dir, "ondisk.yaml"), onDisk),
		write(filepath.Join(dir, "audit.yaml"), node{
			"tenant": "corp", "broker": broker("auditor"), "record_key_file": "record.key",
			"publishers": []node{{"key": publisherKey}}, "consumers": []node{{"key": consumerKey}},
			"syslog": node{"address": "127.0.0.1:6514", "ca_file": "ca.pem"},
		}),
		write(filepath.Join(dir, "provision.yaml"), node{
			"broker": broker("provisioner"), "system_nkey_file": "system.nk", "replicas": 1,
		}),
	)
}

// edited returns a configuration in which key, with dots between its parts, has
// another value; "-" removes it.
func edited(text []byte, key, value string) ([]byte, error) {
	var root any
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	var v any
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		return nil, err
	}
	at := root
	parts := strings.Split(key, ".")
	for _, part := range parts[:len(parts)-1] {
		switch n := at.(type) {
		case map[string]any:
			at = n[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil {
				return nil, err
			}
			at = n[i]
		}
	}
	last, ok := at.(map[string]any)
	if !ok {
		return nil, errors.New(key + ": there is nothing to change")
	}
	last[parts[len(parts)-1]] = v
	if value == "-" {
		delete(last, parts[len(parts)-1])
	}
	return yaml.Marshal(root)
}

// nkeyOf KEY NKEY writes the seed of the NATS user whose key is the signing key
// in the file KEY: the mistake that programs must notice.
func nkeyOf(ts *testscript.TestScript, _ bool, args []string) {
	fields := strings.Fields(ts.ReadFile(args[0]))
	raw, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	ts.Check(err)
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, raw)
	ts.Check(err)
	seed, err := pair.Seed()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), seed, 0o600))
}
