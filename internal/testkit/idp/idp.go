// Package idp runs a real OpenID Connect provider for tests: npm's
// oidc-provider on a loopback address. What it does right, and the order of its
// redirects, is not ours to imagine.
package idp

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"writeback/internal/testkit/npm"
)

//go:embed node
var files embed.FS

// Settings are what a provider knows. The users sign in with their names alone.
type Settings struct {
	Port         int      `json:"port"` // 0 is any
	CertFile     string   `json:"cert"` // PEM, for 127.0.0.1
	KeyFile      string   `json:"key"`  // PEM
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	RedirectURLs []string `json:"redirect_uris"`
	// Claims are the names of those that stand in ID tokens, for the scope profile.
	Claims []string `json:"claims"`
	// Users have claims. One that is not here can be typed into the form.
	Users map[string]map[string]any `json:"users"`
}

// A Provider is running until it is stopped or this process ends.
type Provider struct {
	Issuer string

	cmd    *exec.Cmd
	done   chan struct{}
	errors *bytes.Buffer
}

// Start starts a provider, and installs it before if this machine has none.
func Start(ctx context.Context, s Settings) (*Provider, error) {
	list, err := fs.Sub(files, "node")
	if err != nil {
		return nil, err
	}
	dir, err := npm.Install(ctx, "oidc-provider", list)
	if err != nil {
		return nil, err
	}
	settings, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	p := &Provider{cmd: exec.Command("node", "server.js"), done: make(chan struct{}), errors: new(bytes.Buffer)}
	p.cmd.Dir, p.cmd.Stdin, p.cmd.Stderr = dir, bytes.NewReader(settings), p.errors
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that started the process.
		runtime.LockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		if err == nil {
			defer p.cmd.Wait()
			p.Issuer, err = bufio.NewReader(stdout).ReadString('\n')
			p.Issuer = strings.TrimSpace(p.Issuer)
		}
		started <- err
	}()
	if err := <-started; err != nil {
		p.Stop()
		return nil, fmt.Errorf("starting oidc-provider: %w: %s", err, p.errors)
	}
	return p, nil
}

// Stop ends the provider.
func (p *Provider) Stop() {
	if p.cmd.Process != nil {
		p.cmd.Process.Kill() // fails if it has ended by itself
	}
	<-p.done
}
