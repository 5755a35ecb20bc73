package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/rs/zerolog"

	"writeback/internal/directory"
	"writeback/internal/queue"
)

// examineBroker checks the way to the broker and what is kept there.
func examineBroker(ctx context.Context, cfg *loaded) []directory.Finding {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	connected := directory.Finding{What: "broker " + cfg.Broker.Way() + ": connection, certificate, sign-in"}
	conn, err := queue.Connect(cfg.Broker, queue.Consumer, zerolog.Nop())
	if err == nil {
		defer conn.Close()
		err = conn.AwaitConnected(ctx)
	}
	if connected.Err = disconnected(err); err != nil {
		return []directory.Finding{connected}
	}
	return []directory.Finding{connected, {What: "broker: streams", Err: conn.OnPremises(cfg.Tenant).CheckStreams(ctx)}}
}

// disconnected says in plain words why there is no connection to the broker.
func disconnected(err error) error {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var proxy *queue.ProxyError
	var silent *net.OpError
	refused, certificate := queue.CertificateRefused(err)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &proxy): // before the rest, which would be about the broker
		return proxy
	case errors.As(err, &dns) && !dns.IsNotFound:
		return errors.New("DNS does not answer: look at this machine's resolver")
	case errors.As(err, &dns):
		return errors.New("DNS does not know the name: look at broker.url, and at this machine's resolver")
	case errors.Is(err, refusedThere):
		return errors.New("refused: nothing listens there, or a firewall is in the way")
	case errors.As(err, &unknown):
		return errors.New("its certificate was issued by an authority that broker.ca_file does not have; " +
			"a proxy or a firewall that opens TLS shows its own, and must let this through unopened")
	case errors.As(err, &name):
		return errors.New("its certificate is for another name than that in broker.url")
	case errors.As(err, &invalid):
		return fmt.Errorf("its certificate cannot be used: %s", invalid.Error())
	case queue.NoWebSocket(err):
		return errors.New("what answers there is no WebSocket: broker.url must be tls://, or have another port")
	case certificate:
		return fmt.Errorf("the broker does not accept broker.cert_file, or wants one: %s", refused)
	case errors.As(err, &silent) && silent.Timeout():
		return errors.New("no answer: a firewall drops it on the way, or nothing is there")
	case queue.UnknownKey(err):
		return errors.New("the broker does not know this key: put the user that `consumer init` prints into the broker's environment, " +
			"or look at broker.nkey_file")
	}
	return err
}
