// Package nats holds the broker's configuration for programs that need to know it.
package nats

import _ "embed"

// Accounts is accounts.conf: who may do what, for the tenant "corp".
//
//go:embed accounts.conf
var Accounts string
