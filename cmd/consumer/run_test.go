package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"writeback/internal/cli"
	"writeback/internal/seal"
	"writeback/internal/testkit/pki"
)

// consumerYAML is of a consumer that finds nobody.
const consumerYAML = `
tenant: corp
replica: one
operations_listen: 127.0.0.1:0
broker: {url: "tls://127.0.0.1:1", ca_file: ca.pem, nkey_file: consumer.nk}
signing_key_file: consumer.key
policy_file: policy.yaml
publishers: [{key: %s}]
directory:
  urls: ["ldaps://127.0.0.1:1"]
  ca_file: ca.pem
  bind_dn: CN=svc,DC=corp,DC=example,DC=com
  password_file: password
`

// A consumer is ready although nothing that it needs is there, and what it logs is
// in the file too.
func TestRunLogs(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	ca, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(ca.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := initKeys(t.Context(), []string{"-dir", dir}, cli.Streams{Out: new(bytes.Buffer), Err: new(bytes.Buffer)}); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.MakeKey(in("publisher.key"), seal.PurposePublisher); err != nil {
		t.Fatal(err)
	}
	publisher, err := seal.LoadSigner(in("publisher.key"), seal.PurposePublisher)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"consumer.yaml": fmt.Sprintf(consumerYAML, publisher.Public()),
		"policy.yaml":   `bases: ["OU=Staff,DC=corp,DC=example,DC=com"]`,
		"ca.pem":        string(authority),
		"password":      "Secret-Word",
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	std, err := os.Create(in("stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer std.Close()
	isReady := false
	args := []string{"-config", in("consumer.yaml"), "-log"}
	if err := run(ctx, append(args, in("consumer.log")), cli.Streams{Err: std}, func() { isReady = true; stop() }); err != nil || !isReady {
		t.Errorf("run: %v, ready: %t", err, isReady)
	}
	for _, name := range []string{"consumer.log", "stderr"} {
		text, err := os.ReadFile(in(name))
		for _, line := range []string{"consumer started", "consumer stopped"} {
			if err != nil || strings.Count(string(text), `"message":"`+line+`"`) != 1 {
				t.Errorf("%q is not once in %s: %v\n%s", line, name, err, text)
			}
		}
	}
	err = run(ctx, append(args, in("none/consumer.log")), cli.Streams{Err: std}, stop)
	if err == nil || !strings.Contains(err.Error(), "-log: ") {
		t.Errorf("a log without a folder: %v", err)
	}
}
