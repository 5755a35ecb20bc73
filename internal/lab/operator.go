package lab

import (
	"context"
	"os"

	"writeback/internal/queue"
	"writeback/internal/testkit/broker"
)

// makeOperator makes the broker one that takes tenants at run time.
func (l *Lab) makeOperator(ctx context.Context) error {
	accounts := l.path("nats", "accounts.conf")
	if err := os.Remove(accounts); err != nil {
		return err
	}
	err := write(l.operatorFile(), node{
		"broker": node{"url": broker.URL(l.nodes), "ca_file": l.Broker.CAFile}, "operator_file": "operator.json", "replicas": len(l.nodes),
	})
	if err != nil {
		return err
	}
	_, err = l.tenant(ctx, "init", "-accounts", accounts)
	return err
}

// makeTenant makes the tenant and one user of each role that a program has.
func (l *Lab) makeTenant(ctx context.Context) error {
	if _, err := l.tenant(ctx, "add", "-name", Tenant); err != nil {
		return err
	}
	for _, role := range []queue.Role{queue.Publisher, queue.Consumer} {
		args := []string{"-role", string(role), "-user", "lab", "-out", l.userFile(role)}
		if role == queue.Consumer {
			args = append(args, "-name", Tenant)
		}
		if _, err := l.tenant(ctx, "credential", args...); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) operatorFile() string { return l.path("nats", "operator.yaml") }

// tenant runs `publisher tenant`.
func (l *Lab) tenant(ctx context.Context, action string, args ...string) (string, error) {
	return l.call(ctx, "publisher", append([]string{"tenant", action, "-config", l.operatorFile()}, args...)...)
}
