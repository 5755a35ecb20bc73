// Publisher is the cloud side of writeback: it takes password resets over
// HTTP, seals them for the consumers on premises and shows what became of them.
package main

import "writeback/internal/cli"

func main() {
	cli.Main("publisher", "takes password resets in the cloud and hands them to the company's directory", []cli.Command{
		{Name: "init", About: "makes the keys that are missing and prints the public ones", Run: initKeys},
		{Name: "streams", About: "creates or updates the broker's streams and says what it changed", Run: streams},
		{Name: "token", About: "makes, lists and removes the tokens and certificates of API callers", Run: token},
		{Name: "tenant", About: "makes and removes tenants and their users while the broker runs", Run: tenantCommand},
		{Name: "ticket", About: "makes a ticket of the reset page through the API, and prints its address", Run: makeTicket},
		{Name: "serve", About: "runs the API", Run: serve},
		cli.Health("publisher", operationsListen),
		{Name: "send", About: "makes one request through the API; a password is read from standard input", Run: send},
	})
}
