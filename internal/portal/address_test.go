package portal

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"writeback/internal/reset"
)

func prefixes(t *testing.T, list ...string) []netip.Prefix {
	t.Helper()
	all, err := parseAll(list, ParsePrefix)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestParsePrefix(t *testing.T) {
	for _, good := range []string{"192.0.2.0/24", "192.0.2.7/32", "0.0.0.0/0", "2001:db8::/32", "::1/128"} {
		if p, err := ParsePrefix(good); err != nil || p.String() != good {
			t.Errorf("%s: got %s, %v", good, p, err)
		}
	}
	for _, bad := range []string{"", "hunter2", "192.0.2.7", "192.0.2.7/24", "192.0.2.0/33", "::ffff:192.0.2.0/120", "fe80::1%eth0/128"} {
		if _, err := ParsePrefix(bad); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

func TestCallerAddress(t *testing.T) {
	proxies := prefixes(t, "10.0.0.0/8", "2001:db8::/64")
	tests := []struct {
		name, peer string
		forwarded  []string
		want       string // empty: not known
	}{
		{"nobody between", "192.0.2.7:1234", nil, "192.0.2.7"},
		{"who is no proxy says something", "192.0.2.7:1234", []string{"198.51.100.1"}, "192.0.2.7"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.7]:1234", nil, "192.0.2.7"},
		{"with a zone", "[fe80::1%eth0]:1234", nil, "fe80::1"},
		{"behind a proxy", "10.0.0.1:1234", []string{"192.0.2.7"}, "192.0.2.7"},
		{"a proxy in IPv6", "[2001:db8::5]:1234", []string{" 2001:db8:1::7 "}, "2001:db8:1::7"},
		{"behind two", "10.0.0.1:1234", []string{"192.0.2.7, 10.0.0.2"}, "192.0.2.7"},
		{"a header each", "10.0.0.1:1234", []string{"192.0.2.7", "10.0.0.2"}, "192.0.2.7"},
		{"the caller claims another", "10.0.0.1:1234", []string{"198.51.100.1, 192.0.2.7"}, "192.0.2.7"},
		{"the caller claims a proxy's", "10.0.0.1:1234", []string{"10.0.0.9, 192.0.2.7"}, "192.0.2.7"},
		{"the caller sends garbage", "10.0.0.1:1234", []string{"hunter2, 192.0.2.7"}, "192.0.2.7"},
		{"the proxy sends garbage", "10.0.0.1:1234", []string{"192.0.2.7, unknown"}, ""},
		{"the proxy names nobody", "10.0.0.1:1234", nil, ""},
		{"proxies only", "10.0.0.1:1234", []string{"10.0.0.3,10.0.0.2"}, ""},
		{"no address at all", "@", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tt.peer
			for _, f := range tt.forwarded {
				r.Header.Add("X-Forwarded-For", f)
			}
			if got := AddressText(CallerAddress(r, proxies)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzCallerAddress: whatever a caller writes before what a trusted proxy says of
// it changes nothing, and no address counts that a trusted proxy has.
func FuzzCallerAddress(f *testing.F) {
	f.Add("198.51.100.1, 10.0.0.2", "192.0.2.7")
	f.Add("hunter2,,", "2001:db8:1::7")
	f.Add("10.0.0.3", "10.0.0.2")
	f.Add("0", "::%,")
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, claimed, hop string) {
		address := func(forwarded string) netip.Addr {
			r := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": {forwarded}}}
			return CallerAddress(r, proxies)
		}
		got := address(claimed + "," + hop)
		if within(proxies, got) {
			t.Errorf("a proxy counts: %s", got)
		}
		said, err := netip.ParseAddr(strings.TrimSpace(hop))
		one := !strings.Contains(hop, ",") // as in a zone
		if err == nil && one && !within(proxies, plain(said)) && got != plain(said) {
			t.Errorf("the proxy says %q, the caller %q: got %s", hop, claimed, got)
		}
	})
}

// A token may be used from its addresses only, in every route, and where that
// is not allowed nothing of the request counts.
func TestAddressesOfToken(t *testing.T) {
	b := setup(t)
	b.token = b.add(t, Grant{Addresses: prefixes(t, "198.51.100.0/24", "2001:db8::/32")})
	b.publisher.status = func(string, reset.Ref) (reset.Status, error) { return ended(reset.Outcome{Code: reset.Applied}), nil }
	b.config.Proxies = prefixes(t, "10.0.0.1/32")
	b.reload(t)
	for _, tt := range []struct {
		name, peer, forwarded string
		status                int
	}{
		{"from one of them", "198.51.100.9:1", "", 200},
		{"from one of the others", "[2001:db8::9]:1", "", 200},
		{"from elsewhere", "192.0.2.1:1", "", 403},
		{"from elsewhere, claiming one", "192.0.2.1:1", "198.51.100.9", 403},
		{"through the proxy", "10.0.0.1:1", "198.51.100.9", 200},
		{"through the proxy from elsewhere", "10.0.0.1:1", "192.0.2.1", 403},
		{"from a proxy that names nobody", "10.0.0.1:1", "", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range append(routes(), route{path: "/v1/requests/" + ref.String()}) {
				method := "POST"
				if r.good == "" {
					method = "GET"
				}
				req := httptest.NewRequest(method, r.path, strings.NewReader(r.good))
				req.RemoteAddr = tt.peer
				submitted := len(b.publisher.got)
				res := b.do(req, "X-Forwarded-For", tt.forwarded)
				m := read(t, res)
				if res.StatusCode != tt.status || tt.status == 403 && (m["code"] != "forbidden" || m["field"] != "address") {
					t.Errorf("%s: got %d %v", r.path, res.StatusCode, m)
				}
				if tt.status == 403 && len(b.publisher.got) != submitted {
					t.Errorf("%s: it was submitted", r.path)
				}
			}
		})
	}
}
