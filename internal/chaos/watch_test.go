package chaos

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/chaos/history"
	"writeback/internal/chaos/proxy"
	"writeback/internal/testkit/fakead"
)

// modify sets a password through a proxy, or unlocks if it is empty.
func modify(t *testing.T, p *proxy.Proxy, s *fakead.Server, dn, password string) {
	t.Helper()
	pem, err := os.ReadFile(p.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	conn, err := ldap.DialURL("ldaps://"+p.Addr(), ldap.DialWithTLSConfig(&tls.Config{RootCAs: pool}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Bind(s.Directory().ServiceDN, s.Directory().ServicePassword); err != nil {
		t.Fatal(err)
	}
	req := ldap.NewModifyRequest(dn, nil)
	if password == "" {
		req.Replace("lockoutTime", []string{"0"})
	} else {
		var value []byte
		for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
			value = binary.LittleEndian.AppendUint16(value, u)
		}
		req.Replace("unicodePwd", []string{string(value)})
	}
	conn.Modify(req) // whether it gets lost is the test's doing
}

// What a watch at two proxies has kept is what the directory itself says, as far
// as it can be known from there.
func TestWatch(t *testing.T) {
	s, err := fakead.Start(fakead.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	user := s.Directory().Users[0]
	w := NewWatch(func(dn string) string {
		if dn != "<GUID="+user.ObjectGUID+">" {
			t.Errorf("a modify of %s", dn)
		}
		return "ada"
	}, func(text string) string { return "the " + text })
	var proxies []*proxy.Proxy
	for range 2 {
		p, err := proxy.Start(proxy.Options{
			Target: s.Directory().URL[len("ldaps://"):], Protocol: proxy.LDAP, CAFile: s.Directory().CAFile, Dir: t.TempDir(), Seen: w.Look(),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		proxies = append(proxies, p)
	}
	request := func(m proxy.Message) bool { return m.Verb == "modify" && m.Direction == proxy.ToServer }
	answer := func(m proxy.Message) bool { return m.Verb == "modify" && m.Direction == proxy.ToClient }
	tests := []struct {
		name, password string
		fault          proxy.Fault
		want           []history.Verdict
	}{
		{"applied", "Good-password-1", proxy.Fault{Match: request}, []history.Verdict{history.Done}},
		{"refused", "short", proxy.Fault{Match: request}, []history.Verdict{history.Refused}},
		{"an unlock", "", proxy.Fault{Match: request}, []history.Verdict{history.Done}},
		{"lost", "Good-password-2", proxy.Fault{Match: request, Do: proxy.Cut}, nil},
		{"torn", "Good-password-3", proxy.Fault{Match: request, Do: proxy.Tear}, nil},
		{"the answer is lost", "Good-password-4", proxy.Fault{Match: answer, Do: proxy.Cut}, []history.Verdict{history.Done}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, p := range proxies {
				before, known := len(w.Writes()), len(s.Writes())
				p.Inject(tt.fault)
				modify(t, p, s, "<GUID="+user.ObjectGUID+">", tt.password)
				got, own := w.Writes()[before:], s.Writes()[known:]
				if len(got) != len(tt.want) || len(own) != len(tt.want) {
					t.Fatalf("the watch has kept %v, the directory %v; want %v", got, own, tt.want)
				}
				for i, want := range tt.want {
					name := ""
					if tt.password != "" {
						name = "the " + tt.password
					}
					if got[i].Verdict != want || got[i].Password != name || got[i].Account != "ada" ||
						(own[i].Code == 0) != (want == history.Done) || own[i].Password != tt.password || own[i].At.Before(got[i].At) {
						t.Errorf("the watch has kept %+v, the directory %+v; want verdict %d", got[i], own[i], want)
					}
				}
			}
		})
	}
	held := s.Inject(fakead.Modify, fakead.Fault{Reply: fakead.Cut})
	modify(t, proxies[0], s, "<GUID="+user.ObjectGUID+">", "Good-password-5")
	<-held.Done()
	if got := w.Writes(); !strings.HasSuffix(got[len(got)-1].Password, "-5") || got[len(got)-1].Verdict != history.Unseen {
		t.Errorf("a modify that was not answered is kept as %+v", got[len(got)-1])
	}
}
