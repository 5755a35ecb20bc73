package chaos

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"writeback/internal/chaos/proxy"
)

// A tree is a configuration file.
type tree = map[string]any

func load(path string) (cfg tree, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, &cfg)
	}
	return cfg, err
}

func store(path string, cfg tree) error {
	text, err := yaml.Marshal(cfg)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	return err
}

// prepare puts proxies between the programs and what they dial.
func (s *System) prepare() error {
	for i := range s.opts.Consumers {
		name := fmt.Sprintf("consumer%d", i+1)
		path := filepath.Join(s.Dir, name, "consumer.yaml")
		cfg, err := load(path)
		if err != nil {
			return err
		}
		p := s.program("consumer", name, path, "run")
		if err := s.before(p, cfg); err != nil {
			return err
		}
		p.AD, err = s.proxy(proxy.Options{
			Target: strings.TrimPrefix(s.Directory.URL, "ldaps://"), Protocol: proxy.LDAP, CAFile: s.Directory.CAFile, Seen: s.Watch.Look(),
		})
		if err != nil {
			return err
		}
		if cfg["operations_listen"], err = freeAddress(); err != nil {
			return err
		}
		dir := cfg["directory"].(tree)
		dir["urls"], dir["ca_file"] = []string{"ldaps://" + p.AD.Addr()}, p.AD.CAFile()
		if err := store(path, cfg); err != nil {
			return err
		}
		s.Consumers = append(s.Consumers, p)
	}
	// All publishers share the keys of the one that the lab knows of.
	original := filepath.Join(s.Dir, "publisher", "publisher.yaml")
	for i := range s.opts.Publishers {
		cfg, err := load(original)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("publisher%d", i+1)
		p := s.program("publisher", name, filepath.Join(s.Dir, "publisher", name+".yaml"), "serve")
		if err := s.before(p, cfg); err != nil {
			return err
		}
		for _, key := range []string{"listen", "operations_listen"} {
			if cfg[key], err = freeAddress(); err != nil {
				return err
			}
		}
		p.API = "http://" + cfg["listen"].(string)
		if err := store(p.config, cfg); err != nil {
			return err
		}
		s.Publishers = append(s.Publishers, p)
	}
	return nil
}

func (s *System) program(binary, name, config, command string) *Program {
	return &Program{
		Name: name, path: filepath.Join(s.opts.Root, "bin", binary), config: config,
		log: filepath.Join(s.Dir, "logs", name+".log"), args: []string{command, "-config", config},
	}
}

// before puts proxies between a program and the servers of the broker.
func (s *System) before(p *Program, cfg tree) error {
	broker := cfg["broker"].(tree)
	var urls []string
	var authorities []byte
	for url := range strings.SplitSeq(broker["url"].(string), ",") {
		b, err := s.proxy(proxy.Options{Target: strings.TrimPrefix(url, "tls://"), Protocol: proxy.NATS, CAFile: s.Broker.CAFile, Seen: s.Requests.see})
		if err != nil {
			return err
		}
		pem, err := os.ReadFile(b.CAFile())
		if err != nil {
			return err
		}
		p.Broker = append(p.Broker, b)
		urls, authorities = append(urls, "tls://"+b.Addr()), append(authorities, pem...)
	}
	ca := filepath.Join(s.Dir, "proxies", p.Name+".pem")
	broker["url"], broker["ca_file"] = strings.Join(urls, ","), ca
	return os.WriteFile(ca, authorities, 0o600)
}

func (s *System) proxy(opts proxy.Options) (*proxy.Proxy, error) {
	all := filepath.Join(s.Dir, "proxies")
	if err := os.MkdirAll(all, 0o700); err != nil {
		return nil, err
	}
	var err error
	if opts.Dir, err = os.MkdirTemp(all, ""); err != nil {
		return nil, err
	}
	p, err := proxy.Start(opts)
	if err == nil {
		s.close = append(s.close, func() { p.Close() })
	}
	return p, err
}

// freeAddress returns a loopback address of its own with a port that nothing
// listens on: on the usual one somebody else would take the port while the
// program is away.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)))
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
