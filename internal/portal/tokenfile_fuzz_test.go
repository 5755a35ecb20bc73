package portal

import (
	"bytes"
	"strings"
	"testing"
)

// A line of the token file is read as an entry that is written and read as the
// same one, or refused without a word of what is in it.
func FuzzTokenLine(f *testing.F) {
	hash := strings.Repeat("0f", 32)
	f.Add([]byte(`{"id":"c75c9440","sha256":"` + hash + `","tenant":"corp","source":"desk","operations":["reset","probe"],"actor_kinds":["self"],` +
		`"names":["upn"],"rate":60,"cidrs":["192.0.2.0/24","::1/128"],"not_after":"2027-01-02T03:04:05Z","made":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"id":"c75c9440","certificate_sha256":"` + hash + `","tenant":"corp","source":"desk","operations":["unlock"],"actor_kinds":["admin"],` +
		`"names":["sid"],"not_after":"2027-01-02T03:04:05+01:00","made":"2026-01-02T03:04:05.5Z"}`))
	f.Add([]byte(`{"id":"c75c9440","sha256":"` + hash + `","tenant":"corp","source":"console","operations":["switches","reset"],"actor_kinds":["admin"],` +
		`"names":["sid"],"not_after":"2027-01-02T03:04:05Z","made":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"id":"c75c9440","id":"c75c9441"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseLine(data)
		if err != nil {
			return
		}
		first, err := e.line()
		if err != nil {
			t.Fatal(err)
		}
		e, err = parseLine(first)
		if err != nil {
			t.Fatalf("%s is refused: %v", first, err)
		}
		second, err := e.line()
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s is written as %s: %v", first, second, err)
		}
	})
}
