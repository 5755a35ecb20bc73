package lab

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"writeback/internal/audit"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/pki"
	"writeback/internal/testkit/samba"
)

// sh runs a command of docs/keys.md in the directory that it is for.
func sh(t *testing.T, dir, command string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", "umask 077; "+command)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+binaries(t)+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// chain reads the records of a request, with the keys that are pinned now.
func (o *owner) chain(t *testing.T, id string) audit.Chain {
	t.Helper()
	var ref reset.Ref
	publisher, text, _ := strings.Cut(id, "-")
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(ref.ID) {
		t.Fatalf("request %s: %v", id, err)
	}
	ref = reset.Ref{Publisher: publisher, ID: reset.ID(raw)}
	records, err := o.js.Stream(t.Context(), "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	var stored []reset.Stored
	for seq := uint64(1); seq <= records.CachedInfo().State.LastSeq; seq++ {
		m, err := records.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(m.Subject, "."+text+".") {
			stored = append(stored, reset.Stored{Data: m.Data, Seq: seq})
		}
	}
	pin := func(dir string, purpose seal.Purpose) seal.Pins {
		s, err := seal.LoadSigner(filepath.Join(dir, string(purpose)+".key"), purpose)
		if err != nil {
			t.Fatal(err)
		}
		return seal.Pins{{Key: s.Public()}}
	}
	v := audit.Verifier{Tenant: Tenant, Publishers: pin(o.l.path("publisher"), seal.PurposePublisher)}
	for i := range o.l.opts.Consumers {
		v.Consumers = append(v.Consumers, pin(o.l.path(consumerName(i)), seal.PurposeConsumer)...)
	}
	chain, err := v.Verify(ref.ID, stored)
	if err != nil || len(chain) < 3 {
		t.Fatalf("request %s has %d records that verify, %v", id, len(chain), err)
	}
	return chain
}

// named reports whether the keys of a record.key file open who was reset.
func named(t *testing.T, file string, l audit.Link, id reset.ID, upn string) bool {
	t.Helper()
	months, err := seal.LoadMonthKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := months.Key(seal.Month(l.Month), Tenant, id)
	if !ok {
		return false
	}
	private, err := audit.Private(key, l)
	return err == nil && strings.EqualFold(private.Account.Value, upn)
}

// TestStolenKeys takes one key after the other, does what docs/keys.md says,
// and tries what the thief then has.
func TestStolenKeys(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	o := newOwner(t, l)
	users, ops := l.Directory.Users, operations(t, l.Dir, 2)
	dir := l.path("publisher")
	restart := func(names ...string) {
		t.Helper()
		for _, name := range names {
			l.end(t, name, ops[name], syscall.SIGTERM)
		}
	}
	works := func(t *testing.T) response {
		t.Helper()
		await(t, "the publisher has heard of a consumer", func() error { return AwaitReady(t.Context(), filepath.Join(dir, "publisher.yaml")) })
		return wantApplied(t, o.e, "upn", users[0].UPN, "Working-Word-"+samba.NewPassword())
	}

	t.Run("publisher.key", func(t *testing.T) {
		stolen, err := seal.LoadSigner(filepath.Join(dir, "publisher.key"), seal.PurposePublisher)
		if err != nil {
			t.Fatal(err)
		}
		sh(t, dir, "mv publisher.key publisher.key.stolen; publisher init")
		fresh, err := l.publicKey(t.Context(), "publisher", dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			edit(t, l.path(consumerName(i), "consumer.yaml"), func(cfg node) { cfg["publishers"] = []node{{"key": fresh}} })
		}
		restart("consumer1", "consumer2", "publisher")
		l.wantRefused(t, stolen, nil)
		works(t)
	})

	t.Run("consumer.key", func(t *testing.T) {
		stolen, err := seal.LoadSigner(l.path("consumer1", "consumer.key"), seal.PurposeConsumer)
		if err != nil {
			t.Fatal(err)
		}
		sh(t, l.path("consumer1"), "mv consumer.key consumer.key.stolen; consumer init")
		fresh, err := l.publicKey(t.Context(), "consumer", l.path("consumer1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{filepath.Join(dir, "publisher.yaml"), l.path("consumer2", "consumer.yaml")} {
			sh(t, l.Dir, fmt.Sprintf("sed -i 's/%s/%s/' %s", stolen.Public(), fresh, file))
		}
		restart("publisher", "consumer2", "consumer1")
		l.wantRefused(t, nil, stolen)
		works(t)
	})

	t.Run("slot.key", func(t *testing.T) {
		stolen, err := seal.LoadSlotKey(filepath.Join(dir, "slot.key"))
		if err != nil {
			t.Fatal(err)
		}
		a, err := reset.NewAccount(reset.UPN, users[1].UPN)
		if err != nil {
			t.Fatal(err)
		}
		known := stolen.Slot(Tenant, a.Kind.String(), a.Canonical())
		slot := func() string {
			c := o.catch(t, users[1], "Slot-Word-"+samba.NewPassword())
			o.send(t, c.subject, c.data)
			return c.subject
		}
		if got := slot(); got != "req."+hex.EncodeToString(known[:]) {
			t.Errorf("before, the slot is %s, and the thief knows %x", got, known)
		}
		sh(t, dir, "mv slot.key slot.key.stolen; publisher init")
		restart("publisher")
		works(t)
		if got := slot(); got == "req."+hex.EncodeToString(known[:]) {
			t.Error("the thief knows whose slot it is")
		}
	})

	t.Run("record.key", func(t *testing.T) {
		before := works(t)
		sh(t, dir, `mv record.key record.key.stolen; publisher init
			awk -v m="record-$(date -u +%Y-%m)" '$2 < m' record.key.stolen > record.key.new
			cat record.key >> record.key.new; mv record.key.new record.key`)
		restart("publisher")
		after := works(t)
		for _, r := range []response{before, after} {
			chain := o.chain(t, r.ID)
			id := chain[0].ID
			if got, want := named(t, dir+"/record.key.stolen", chain[0], id, users[0].UPN), r.ID == before.ID; got != want {
				t.Errorf("the stolen key names who was reset: %t, want %t", got, want)
			}
			if got, want := named(t, dir+"/record.key", chain[0], id, users[0].UPN), r.ID == after.ID; got != want {
				t.Errorf("the new key names who was reset: %t, want %t", got, want)
			}
		}
	})

	t.Run("a month of record.key is deleted", func(t *testing.T) {
		r := works(t)
		chain := o.chain(t, r.ID)
		if !named(t, dir+"/record.key", chain[0], chain[0].ID, users[0].UPN) {
			t.Error("before, the record does not name who was reset")
		}
		sh(t, dir, fmt.Sprintf("cp record.key record.key.all; sed -i '/^wbkey1 record-%s /d' record.key", seal.Month(chain[0].Month)))
		defer sh(t, dir, "mv record.key.all record.key")
		chain = o.chain(t, r.ID) // its signatures verify
		for i, link := range chain {
			if named(t, dir+"/record.key", link, chain[0].ID, users[0].UPN) {
				t.Errorf("record %d still names who was reset", i)
			}
		}
		if chain.Last().Code != reset.Applied {
			t.Errorf("the outcome is %s, want applied", chain.Last().Code)
		}
	})

	t.Run("sealing key", func(t *testing.T) {
		stolen := o.boxOf(t, consumerName(0))
		sh(t, filepath.Join(l.runtime, consumerName(0)), "rm -f box-*")
		restart("consumer1")
		await(t, "the publisher seals for the new key", func() error {
			c := o.catch(t, users[2], "Sealed-Word-"+samba.NewPassword())
			o.send(t, c.subject, c.data)
			wraps := parse(t, c.data).Wraps
			for _, w := range wraps {
				if w.Box == stolen.ID {
					return fmt.Errorf("it seals for the stolen one")
				}
			}
			if len(wraps) != 2 {
				return fmt.Errorf("it is sealed for %d", len(wraps))
			}
			return nil
		})
	})

	t.Run("API token", func(t *testing.T) {
		stolen := l.grant(t, "thief")
		becomes := func(status int) {
			t.Helper()
			await(t, fmt.Sprintf("the token is answered with %d", status), func() error {
				if r := o.e.ask(t, stolen, "probes", users[3].UPN, ""); r.Status != status {
					return errors.New(r.Body)
				}
				return nil
			})
		}
		becomes(http.StatusOK)
		list, err := l.call(t.Context(), "publisher", "token", "-file", l.tokensFile(), "-list")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(list) {
			if strings.Contains(line, "thief") {
				sh(t, dir, "publisher token -file tokens.json -remove "+strings.Fields(line)[0])
			}
		}
		becomes(http.StatusUnauthorized)
	})

	t.Run("certificate of the API", func(t *testing.T) {
		files := t.TempDir()
		authority, err := pki.New(files)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := authority.Server("api", []string{"127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		door := l.startFrontDoor(t, "https", node{"tls": node{"cert_file": cert.CertFile, "key_file": cert.KeyFile}})
		token := filepath.Join(files, "token")
		if err := os.WriteFile(token, []byte(l.Token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		probe := func() error {
			_, err := l.call(t.Context(), "publisher", "send", "-api", door.APIURL, "-ca", authority.CAFile, "-probe", "-upn", users[0].UPN, "-token-file", token)
			return err
		}
		if err := probe(); err != nil {
			t.Fatal(err)
		}
		// Callers believe another authority: who shows the old certificate is
		// refused, and the publisher after a restart is not.
		if authority, err = pki.New(files); err != nil {
			t.Fatal(err)
		}
		if err := probe(); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("callers believe the stolen certificate: %v", err)
		}
		if _, err := authority.Server("api", []string{"127.0.0.1"}); err != nil {
			t.Fatal(err)
		}
		if err := l.writeEndpoints(); err != nil {
			t.Fatal(err)
		}
		l.end(t, "https", door.operations, syscall.SIGTERM)
		await(t, "a probe with the new certificate", probe)
	})

	t.Run("password of the service account", func(t *testing.T) {
		stolen := l.Directory.ServicePassword
		fresh := samba.NewPassword()
		for _, password := range []string{samba.NewPassword(), fresh} { // twice, as the page says
			if err := l.fake.SetPassword("svc-writeback", password); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 {
			if err := os.WriteFile(l.path(consumerName(i), "ad-password"), []byte(fresh+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		restart("consumer1", "consumer2")
		works(t)
		if conn, err := samba.Bind(l.Directory, l.Directory.ServiceDN, stolen); err == nil {
			conn.Close()
			t.Error("the directory takes the stolen password")
		}
	})
}
