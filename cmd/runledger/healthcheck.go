package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) healthcheckCommand() *cobra.Command {
	var address string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running server whether it is ready",
		Long: `Healthcheck asks the server on this machine for /readyz and exits with 0 if it is
ready, 1 if not. It is made for containers, which have no shell and no curl.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readConfig(a.environ)
			if err != nil {
				return err
			}
			if address == "" {
				address = "http://" + loopback(c.Addr)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return checkReady(ctx, strings.TrimSuffix(address, "/"))
		},
	}
	cmd.Flags().StringVar(&address, "url", "", "the server's address (http:// and the port of RUNLEDGER_ADDR on loopback)")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for the answer")
	return cmd
}

// loopback is where a server that listens on addr can be reached from the same machine.
func loopback(addr string) string {
	host, port, _ := net.SplitHostPort(addr) // checked when the configuration was read
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func checkReady(ctx context.Context, base string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz?verbose", http.NoBody)
	if err != nil {
		return usageError{err}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	const longest = 4 << 10
	body, _ := io.ReadAll(io.LimitReader(resp.Body, longest))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server is not ready (%s):\n%s", resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
