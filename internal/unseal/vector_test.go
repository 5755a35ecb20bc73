package unseal

import (
	"bytes"
	"crypto/hpke"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
)

var update = flag.Bool("update", false, "write the vector in testdata anew; it is a contract, so this is for a new version only")

// A sealedRequest is a request that was sealed once, and what opens it.
type sealedRequest struct {
	About      string `json:"about"`
	BoxPrivate string `json:"box_private"` // hexadecimal, as all that follows
	BoxPublic  string `json:"box_public"`
	SignerSeed string `json:"signer_seed"`
	Request    string `json:"request"`
	Body       string `json:"body"`
}

const vectorFile = "testdata/sealed-request.json"

func TestSealedRequestOpens(t *testing.T) {
	if *update {
		writeVector(t)
	}
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v sealedRequest
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	// The key comes as a restarted consumer finds it.
	dir := inMemory(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, filePrefix+strconv.FormatInt(noon.UnixMilli(), 10))
	if err := os.WriteFile(file, unhex(t, v.BoxPrivate), 0o600); err != nil {
		t.Fatal(err)
	}
	k := testKeyring(t, dir, noon)
	if got := hex.EncodeToString([]byte(public(k))); got != v.BoxPublic {
		t.Errorf("the key's public half is %.40s…, want %.40s…", got, v.BoxPublic)
	}
	q, err := envelope.ParseRequest(unhex(t, v.Request))
	if err != nil {
		t.Fatal(err)
	}
	s, err := seal.NewSigner(seal.PurposePublisher, unhex(t, v.SignerSeed))
	if err != nil {
		t.Fatal(err)
	}
	pins, err := seal.NewPins([]seal.Pin{{Key: s.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	if !pins.Verify(q.Header.Signer, noon, seal.KindRequest, q.Signed(), q.Sig) {
		t.Error("the signature does not verify")
	}
	var wraps []seal.Wrap
	for _, w := range q.Wraps {
		wraps = append(wraps, seal.Wrap{Box: w.Box, Sealed: w.Sealed})
	}
	plain, err := k.Open(wraps, q.HeaderBytes(), q.Body)
	if err != nil || !bytes.Equal(plain, unhex(t, v.Body)) {
		t.Fatalf("Open = %x, %v", plain, err)
	}
	body, err := envelope.ParseBody(plain)
	if err != nil {
		t.Fatal(err)
	}
	body.Password.Reveal(func(b []byte) error {
		if string(b) != "correct horse ✓" || body.Account.Value != "ada@corp.example.com" {
			t.Errorf("the body says %q for %q", b, body.Account.Value)
		}
		return nil
	})
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeVector(t *testing.T) {
	t.Helper()
	seed, private := bytes.Repeat([]byte{'p'}, 32), bytes.Repeat([]byte{'b'}, 32)
	s, err := seal.NewSigner(seal.PurposePublisher, seed)
	if err != nil {
		t.Fatal(err)
	}
	key, err := hpke.MLKEM768X25519().NewPrivateKey(bytes.Clone(private))
	if err != nil {
		t.Fatal(err)
	}
	box, err := seal.NewBox(key.PublicKey().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	other := boxFor(t, testKeyring(t, "", noon))
	q := envelope.Request{Header: envelope.Header{
		Tenant: "corp", Publisher: "pub_1", ID: reset.ID{1}, Slot: [16]byte{2}, Operation: reset.Reset,
		Accepted: noon, Deadline: noon.Add(reset.Deadline), Parent: [32]byte{3}, ParentSeq: 4, Signer: s.Public().ID(),
	}}
	body := envelope.Body{
		Account:  reset.Account{Kind: reset.UPN, Value: "ada@corp.example.com"},
		Password: secret.New([]byte("correct horse ✓")), Actor: reset.Actor{Kind: reset.Self, Subject: "ada"},
		Source: "portal", Address: "192.0.2.7", Month: 202611, RecordKey: [32]byte{5},
	}
	plain := body.Encode()
	wraps, sealed, err := seal.Body([]seal.Box{other, box}, q.HeaderBytes(), plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wraps {
		q.Wraps = append(q.Wraps, envelope.Wrap{Box: w.Box, Sealed: w.Sealed})
	}
	q.Body = sealed
	q.Sig = s.Sign(seal.KindRequest, q.Signed())
	v := sealedRequest{
		About:      "sealed for two boxes, the second one is the one that is given; the password is \"correct horse ✓\"",
		BoxPrivate: hex.EncodeToString(private), BoxPublic: hex.EncodeToString(key.PublicKey().Bytes()),
		SignerSeed: hex.EncodeToString(seed), Request: hex.EncodeToString(q.Encode()),
	}
	plain.Reveal(func(b []byte) error {
		v.Body = hex.EncodeToString(b)
		return nil
	})
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
