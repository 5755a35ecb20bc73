package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"writeback/internal/obs"
	"writeback/internal/portal"
	"writeback/internal/portal/adminpage"
	"writeback/internal/portal/changepage"
	"writeback/internal/portal/pages"
	"writeback/internal/portal/resetpage"
	"writeback/internal/portal/signinpage"
	"writeback/internal/publisher"
	"writeback/internal/signin"
	"writeback/internal/ticket"
)

// pageSettings is what can be set of the pages.
type pageSettings struct {
	PublicURL string           `yaml:"public_url"` // where people reach the pages, as https://reset.example.com; the address of listen if left out
	Brand     pages.Brand      `yaml:"brand"`      // what they see of their organisation
	Rates     portal.PageRates `yaml:"rates"`      // how many forms are taken from one address and for one account

	// SessionKeyFile is session.key, the same for all publishers. With it, who has a
	// token for the switches can open the administration page by showing it; without
	// it only administrators who sign in (sign_in) can.
	SessionKeyFile string `yaml:"session_key_file"`
}

// check fills in where the pages are reached.
func (p *pageSettings) check(listen string, secure bool) error {
	if p.PublicURL == "" {
		p.PublicURL = "http://" + listen
		if secure {
			p.PublicURL = "https://" + listen
		}
	}
	u, err := url.Parse(p.PublicURL)
	// The errors of url.Parse repeat what they were given.
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("pages.public_url: must have the form https://reset.example.com, without anything after it")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return fmt.Errorf("pages.public_url: %s is not on this machine; passwords are typed there, so it must be https", u.Hostname())
	}
	if err := p.Rates.Check(); err != nil {
		return fmt.Errorf("pages.rates.%w", err)
	}
	if err := p.Brand.Check(); err != nil {
		return fmt.Errorf("pages.brand.%w", err)
	}
	return nil
}

// administered reports whether anybody can open the administration page: by signing
// in, or by showing a token.
func (l *loaded) administered() bool { return len(l.SignIn) != 0 || l.operators != nil }

// addPages adds what people see to the frame.
func (l *loaded) addPages(frame *pages.Frame, pub *publisher.Publisher, desk *ticket.Desk, people *signin.Set, guesses *portal.Guesses, tokens *portal.Tokens) error {
	if err := resetpage.Add(resetpage.Config{Frame: frame, Tickets: desk, Publisher: pub, Rates: l.Pages.Rates}); err != nil {
		return err
	}
	var door *signinpage.Door
	if !people.Empty() {
		var err error
		if door, err = signinpage.Add(frame, people); err != nil {
			return err
		}
		err = changepage.Add(changepage.Config{Frame: frame, Door: door, Publisher: pub, Rates: l.Pages.Rates, Guesses: guesses})
		if err != nil {
			return err
		}
	}
	if !l.administered() {
		return nil
	}
	return adminpage.Add(adminpage.Config{
		Frame: frame, Door: door, Tokens: tokens, Sessions: l.operators, Publisher: pub, Rates: l.Pages.Rates, Version: obs.BuildVersion(),
	})
}
