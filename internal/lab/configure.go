package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.yaml.in/yaml/v3"

	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// A node is a part of a configuration file.
type node = map[string]any

// configure makes keys, configuration, streams and a token with the programs
// themselves, as an operator does.
func (l *Lab) configure(ctx context.Context) error {
	l.makeRuntimeDir()
	for i := range l.opts.Consumers {
		if err := os.MkdirAll(l.path(consumerName(i)), 0o700); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(l.path("publisher"), 0o700); err != nil {
		return err
	}
	publisherKey, err := l.publicKey(ctx, "publisher", l.path("publisher"))
	if err != nil {
		return err
	}
	var consumers []node
	for i := range l.opts.Consumers {
		key, err := l.publicKey(ctx, "consumer", l.path(consumerName(i)))
		if err != nil {
			return err
		}
		consumers = append(consumers, node{"key": key})
	}
	for i := range l.opts.Consumers {
		others := append(append([]node{}, consumers[:i]...), consumers[i+1:]...)
		if err := l.configureConsumer(i, publisherKey, others); err != nil {
			return err
		}
	}
	if err := l.configurePublishers(consumers); err != nil {
		return err
	}
	if err := l.configureAuditor(publisherKey, consumers); err != nil {
		return err
	}
	if err := l.provision(ctx); err != nil {
		return err
	}
	l.Token, err = l.call(ctx, "publisher", "token", "-file", l.tokensFile(), "-tenant", Tenant, "-source", "demo",
		"-operations", "reset,change,unlock,probe,ticket", "-actors", "admin,self", "-names", "immutable_id,object_guid,upn,sam_account_name,sid", "-days", "30", "-rate", "60000")
	return err
}

// provision makes the tenant's streams, and in operator mode the tenant and its
// users too.
func (l *Lab) provision(ctx context.Context) error {
	if l.opts.Operator {
		return l.makeTenant(ctx)
	}
	provision := l.path("nats", "provision.yaml")
	err := write(provision, node{
		"broker": l.brokerNode(queue.Provisioner), "system_nkey_file": l.Broker.NKeyFile(queue.System), "replicas": len(l.nodes),
	})
	if err != nil {
		return err
	}
	_, err = l.call(ctx, "publisher", "streams", "-new", "-config", provision)
	return err
}

// publicKey runs `init` and returns the public key that it prints.
func (l *Lab) publicKey(ctx context.Context, program, dir string) (string, error) {
	out, err := l.call(ctx, program, "init", "-dir", dir)
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(out, "\n") {
		if key, ok := strings.CutPrefix(line, program+" public key: "); ok {
			return key, nil
		}
	}
	return "", fmt.Errorf("%s init: printed no public key", program)
}

func (l *Lab) brokerNode(role queue.Role) node {
	return node{"url": broker.URL(l.nodes), "ca_file": l.Broker.CAFile, "nkey_file": l.userFile(role)}
}

// userFile is what a role signs in to the broker with.
func (l *Lab) userFile(role queue.Role) string {
	if l.opts.Operator {
		return l.path("nats", string(role)+".creds")
	}
	return l.Broker.NKeyFile(role)
}

func (l *Lab) configureConsumer(i int, publisherKey string, others []node) error {
	dir := l.path(consumerName(i))
	ops, err := freeAddress()
	if err != nil {
		return err
	}
	l.operations[consumerName(i)] = "http://" + ops
	if err := os.WriteFile(filepath.Join(dir, "ad-password"), []byte(l.Directory.ServicePassword+"\n"), 0o600); err != nil {
		return err
	}
	if err := write(filepath.Join(dir, "policy.yaml"), node{
		"bases": []string{l.Directory.StaffDN},
		"names": []string{"immutable_id", "object_guid", "upn", "sam_account_name", "sid"},
		// Far above what people do, for scripts and benchmarks.
		"limits": node{"per_minute": 10_000, "per_hour": 100_000, "per_account_day": 1_000, "admin_per_hour": 100_000},
	}); err != nil {
		return err
	}
	cfg := node{
		"tenant": Tenant, "replica": consumerName(i), "operations_listen": ops,
		"broker": l.brokerNode(queue.Consumer), "signing_key_file": "consumer.key", "policy_file": "policy.yaml",
		"publishers": []node{{"key": publisherKey}}, "consumers": others,
		"directory": node{
			"urls": l.urls, "ca_file": l.Directory.CAFile,
			"bind_dn": l.Directory.ServiceDN, "password_file": "ad-password",
		},
	}
	if l.runtime != "" {
		cfg["runtime_dir"] = filepath.Join(l.runtime, consumerName(i))
	}
	return write(filepath.Join(dir, "consumer.yaml"), cfg)
}

// configurePublishers writes files that differ only in what is listened on.
func (l *Lab) configurePublishers(consumers []node) error {
	if err := os.WriteFile(l.tokensFile(), nil, 0o600); err != nil {
		return err
	}
	for i := range max(1, l.opts.Publishers) {
		if err := l.configurePublisher(i, consumers); err != nil {
			return err
		}
	}
	l.APIURL = l.apis[0]
	return nil
}

func (l *Lab) configurePublisher(i int, consumers []node) error {
	api, err := freeAddress()
	if err != nil {
		return err
	}
	ops, err := freeAddress()
	if err != nil {
		return err
	}
	l.apis = append(l.apis, "http://"+api)
	l.operations[publisherName(i)] = "http://" + ops
	return write(l.publisherFile(i), node{
		"listen": api, "operations_listen": ops, "broker": l.brokerNode(queue.Publisher),
		"signing_key_file": "publisher.key", "slot_key_file": "slot.key", "record_key_file": "record.key",
		// Far above what people do, for scripts and benchmarks.
		"limits": node{"per_address": 1_000_000, "per_account": 10_000, "wrong_passwords": 100, "wrong_password_window": "1m"},
		"pages": node{
			"brand": node{"organisation": "Example Corp"}, "rates": node{"per_address": 1_000_000, "per_account": 10_000}, "session_key_file": "session.key",
		},
		"tokens_file": "tokens.json", "tenants": []node{{"name": Tenant, "consumers": consumers}},
	})
}

// AuditFile is the configuration of an auditor who reads names.
func (l *Lab) AuditFile() string { return l.path("audit.yaml") }

func (l *Lab) configureAuditor(publisherKey string, consumers []node) error {
	return write(l.AuditFile(), node{
		"tenant": Tenant, "broker": l.brokerNode(queue.Auditor), "record_key_file": l.path("publisher", "record.key"),
		"publishers": []node{{"key": publisherKey}}, "consumers": consumers,
	})
}

func (l *Lab) tokensFile() string { return l.path("publisher", "tokens.json") }

// makeRuntimeDir finds a tmpfs for the consumers' sealing keys. Without one
// they are in memory only, and a killed consumer's requests end as unreadable.
func (l *Lab) makeRuntimeDir() {
	removeLeftOver()
	dir, err := os.MkdirTemp("/dev/shm", fmt.Sprintf("%s%d-", runtimePrefix, os.Getpid()))
	if err != nil {
		l.say("  no tmpfs at /dev/shm: sealing keys do not outlive a consumer's crash")
		return
	}
	l.runtime = dir
	l.close = append(l.close, func() { os.RemoveAll(dir) })
}

// runtimePrefix and the process that made it begin the name of a directory with
// sealing keys.
const runtimePrefix = "writeback-lab-"

// removeLeftOver removes the directories of labs that were killed.
func removeLeftOver() {
	dirs, _ := filepath.Glob(filepath.Join("/dev/shm", runtimePrefix+"*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), runtimePrefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
}

func write(path string, n node) error {
	text, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

func (l *Lab) awaitReady(ctx context.Context) error {
	for i := range l.apis {
		if err := AwaitReady(ctx, l.publisherFile(i)); err != nil {
			return err
		}
	}
	return nil
}

// AwaitReady waits until the publisher with a configuration file has heard of a
// consumer.
func AwaitReady(ctx context.Context, config string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var cfg struct {
		OperationsListen string `yaml:"operations_listen"`
	}
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, &cfg); err != nil {
		return err
	}
	return backoff.Retry(func() error {
		resp, err := http.Get("http://" + cfg.OperationsListen + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var checks map[string]string
		if err := json.NewDecoder(resp.Body).Decode(&checks); err != nil {
			return err
		}
		for name, result := range checks {
			if result != "ok" {
				return fmt.Errorf("the publisher is not ready: %s: %s", name, result)
			}
		}
		return nil
	}, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx))
}

// Endpoints is what scripts read: see -endpoints of the demo.
type Endpoints struct {
	APIURL    string            `json:"api_url"`
	APIToken  string            `json:"api_token"`
	PortalURL string            `json:"portal_url"`
	NATS      natsEndpoint      `json:"nats"`
	Directory directoryEndpoint `json:"directory"`
	Users     []userEndpoint    `json:"users"`
	Processes []processEndpoint `json:"processes"`
}

type natsEndpoint struct {
	URL        string `json:"url"`
	CA         string `json:"ca"`
	StoreDir   string `json:"store_dir"`
	AdminCreds string `json:"admin_creds"` // seed file (nkey) of an administrator of the tenant's account
}

type directoryEndpoint struct {
	Kind          string `json:"kind"`
	URL           string `json:"url"`
	CA            string `json:"ca"`
	BaseDN        string `json:"base_dn"`
	AdminDN       string `json:"admin_dn"`
	AdminPassword string `json:"admin_password"`
}

type userEndpoint struct {
	UPN            string `json:"upn"`
	SAMAccountName string `json:"sam_account_name"`
	ObjectGUID     string `json:"object_guid"`
	ImmutableID    string `json:"immutable_id"`
	Password       string `json:"password"`
}

type processEndpoint struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	Log  string `json:"log"`
}

// writeEndpoints replaces the file for scripts as a whole.
func (l *Lab) writeEndpoints() error {
	if l.opts.Endpoints == "" {
		return nil
	}
	d := l.Directory
	e := Endpoints{
		APIURL: l.APIURL, APIToken: l.Token, PortalURL: l.APIURL,
		Directory: directoryEndpoint{d.Kind, d.URL, d.CAFile, d.BaseDN, d.AdminDN, d.AdminPassword},
	}
	if l.Broker != nil {
		e.NATS = natsEndpoint{broker.URL(l.nodes), l.Broker.CAFile, l.Broker.StoreDir, l.AdminKeyFile()}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range d.Users {
		e.Users = append(e.Users, endpointOf(u))
	}
	for _, p := range l.processes {
		e.Processes = append(e.Processes, processEndpoint{p.name, p.pid, p.log})
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	tmp := l.opts.Endpoints + ".new"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, l.opts.Endpoints)
}

func endpointOf(u testkit.User) userEndpoint {
	return userEndpoint{u.UPN, u.SAMAccountName, u.ObjectGUID, u.ImmutableID, u.Password}
}
