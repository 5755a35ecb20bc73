package trail

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"writeback/internal/audit"
	"writeback/internal/reset"
)

// What decodes encodes to the same bytes, and can be shown to people.
func FuzzParseLine(f *testing.F) {
	vectors, err := filepath.Glob(filepath.Join("..", "envelope", "testdata", "*.json"))
	if err != nil || len(vectors) == 0 {
		f.Fatal("there are no vectors", err)
	}
	for _, file := range vectors {
		vector, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var v struct{ Hex string }
		if err := json.Unmarshal(vector, &v); err != nil {
			f.Fatal(err)
		}
		data, err := hex.DecodeString(v.Hex)
		if err != nil {
			f.Fatal(err)
		}
		for _, stream := range []string{Records, Events} {
			text := line(f, Message{stream, reset.Message{Seq: 7, Time: noon, Subject: "rec.pub1.0.con", Data: data}})
			f.Add(text)
			f.Add(bytes.Replace(text, []byte(`"seq"`), []byte(`"Seq"`), 1))
			f.Add(bytes.Replace(text, []byte("Z"), []byte("+00:00"), 1))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ParseLine(text)
		if err != nil {
			return
		}
		again, err := l.Encode()
		if err != nil || !bytes.Equal(again, text) {
			t.Errorf("%q decodes, and encodes to %q, %v", text, again, err)
		}
		var out strings.Builder
		e := Reader{Verifier: audit.Verifier{Tenant: "corp"}}.Read(l.Message)
		for _, format := range []string{"table", "timeline"} {
			if err := NewPrinter(format, &out).Print(e); err != nil {
				t.Error(err)
			}
		}
		if strings.ContainsAny(out.String(), "\x1b\r\u202e") {
			t.Errorf("what it prints could steer a terminal: %q", out.String())
		}
	})
}
