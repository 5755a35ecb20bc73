package lab

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"writeback/internal/queue"
	"writeback/internal/testkit/broker"
	"writeback/internal/testkit/netns"
	"writeback/internal/testkit/tunnel"
)

// blocked is how long nothing has to come through the firewall.
const blocked = time.Second

// TestWayOut puts the consumers behind a firewall that lets out connections to one
// port and lets nothing in, and resets passwords.
func TestWayOut(t *testing.T) {
	inside, outside, err := netns.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inside.Close(); outside.Close() })
	listen := func(n *netns.Network, address string) net.Listener {
		t.Helper()
		l, err := n.Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	// What must not be reached, and can be as long as there is no firewall.
	const service, elsewhere = netns.Inside + ":9091", netns.Broker + ":8443"
	listen(inside, service)
	listen(outside, elsewhere)
	in := func() error { return outside.Reach(service, blocked) }
	out := func() error { return inside.Reach(elsewhere, blocked) }
	await(t, "reaching everything without a firewall", func() error { return errors.Join(in(), out()) })

	l := startLab(t, "fake")
	e := l.endpoints(t)
	// The directory is on premises: it is reached without leaving.
	ad, err := url.Parse(l.Directory.URL)
	if err != nil {
		t.Fatal(err)
	}
	directory := tunnel.Forward(listen(inside, ad.Host), ad.Host)
	t.Cleanup(directory.Close)

	const password = "c4nary-of-the-proxy"
	passwordFile := filepath.Join(t.TempDir(), "proxy-password")
	if err := os.WriteFile(passwordFile, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := map[string]string{"tls": fmt.Sprintf("127.0.0.1:%d", l.Broker.Port), "wss": fmt.Sprintf("127.0.0.1:%d", l.Broker.WSPort)}
	for i, way := range []struct{ name, scheme, user string }{
		{"TLS", "tls", ""}, {"WebSocket", "wss", ""},
		{"TLS through a proxy", "tls", "-"}, {"WebSocket through a proxy with a password", "wss", "ada"},
	} {
		t.Run(way.name, func(t *testing.T) {
			set := node{"url": way.scheme + "://" + netns.Broker + ":443", "ca_file": l.Broker.CAFile, "nkey_file": l.Broker.NKeyFile(queue.Consumer)}
			address, port := netns.Broker, "443"
			var count func() int // of connections
			if way.user == "" {
				f := tunnel.Forward(listen(outside, netns.Broker+":443"), plain[way.scheme])
				defer f.Close()
				count = f.Connections
			} else {
				// Nobody but the proxy knows the name.
				address, port = netns.Proxy, "3128"
				set["url"], set["proxy"] = way.scheme+"://"+broker.Name+":443", "http://"+netns.Proxy+":3128"
				opts := tunnel.Options{Routes: map[string]string{broker.Name + ":443": plain[way.scheme]}}
				if way.user != "-" {
					opts.User, opts.Password = way.user, password
					set["proxy"], set["proxy_password_file"] = "http://"+way.user+"@"+netns.Proxy+":3128", passwordFile
				}
				p := tunnel.Start(listen(outside, netns.Proxy+":3128"), opts)
				defer p.Close()
				count = p.Tunnels
			}
			if err := inside.Firewall(t.Context(), address, port); err != nil {
				t.Fatal(err)
			}
			l.moveConsumers(t, inside, set)
			user := l.Directory.Users[i]
			await(t, "a reset", func() error {
				r, err := e.post(t.Context(), "upn", user.UPN, "Wayout-Word-7", "Prefer: wait=5")
				if err == nil && r.Code != "applied" {
					err = errors.New(r.Body)
				}
				return err
			})
			if !l.fake.Check(user.SAMAccountName, "Wayout-Word-7") {
				t.Error("the password is not the new one")
			}
			await(t, "a connection of each consumer", func() error {
				if n := count(); n < l.opts.Consumers {
					return fmt.Errorf("%d came this way", n)
				}
				return nil
			})
			for name, reach := range map[string]func() error{"in": in, "out": out} {
				var timeout net.Error
				if err := reach(); !errors.As(err, &timeout) || !timeout.Timeout() {
					t.Errorf("%s through the firewall: got %v, want no answer", name, err)
				}
			}
			check(t, l, inside, set, way.user == "-")
		})
	}
	logs, err := filepath.Glob(l.path("logs", "*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("there are no logs: %v", err)
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), password) {
			t.Errorf("%s shows the proxy's password", path)
		}
	}
}

// moveConsumers starts the consumers again in a network, with this way to the
// broker.
func (l *Lab) moveConsumers(t *testing.T, n *netns.Network, way node) {
	t.Helper()
	l.mu.Lock()
	l.move = n.Command
	l.mu.Unlock()
	for i := range l.opts.Consumers {
		edit(t, l.path(consumerName(i), "consumer.yaml"), func(cfg node) { cfg["broker"] = way })
		before := l.endpoints(t).pid(t, consumerName(i))
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, "the consumer's restart", func() error {
			if l.endpoints(t).pid(t, consumerName(i)) == before {
				return errors.New("it has not been started again")
			}
			return nil
		})
	}
}

func readNode(t testing.TB, path string) node {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := node{}
	if err := yaml.Unmarshal(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// check runs `consumer check` where the consumers are. With environment the proxy
// comes from HTTPS_PROXY.
func check(t *testing.T, l *Lab, n *netns.Network, way node, environment bool) {
	t.Helper()
	cfg := readNode(t, l.path(consumerName(0), "consumer.yaml"))
	cmd := exec.Command(filepath.Join(l.opts.Bin, "consumer"), "check", "-config", l.path(consumerName(0), "check.yaml"))
	if environment {
		cmd.Env = append(os.Environ(), "NO_PROXY=", fmt.Sprintf("HTTPS_PROXY=%s", way["proxy"]))
		direct := node{"url": way["url"], "ca_file": way["ca_file"], "nkey_file": way["nkey_file"]}
		cfg["broker"] = direct
	}
	if err := write(l.path(consumerName(0), "check.yaml"), cfg); err != nil {
		t.Fatal(err)
	}
	out, err := n.Command(cmd).CombinedOutput()
	want := fmt.Sprintf("ok    broker %s", way["url"])
	if way["proxy"] != nil {
		want += " through the proxy " + netns.Proxy + ":3128"
	}
	if err != nil || !strings.Contains(string(out), want+": connection, certificate, sign-in\nok    broker: streams\n") {
		t.Errorf("consumer check: %v; want %q in\n%s", err, want, out)
	}
}
