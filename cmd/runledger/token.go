package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) tokenCommand() *cobra.Command {
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "token SUBJECT",
		Short: "Sign a token for a subject",
		Long: `Token prints a bearer token for the user with that subject, signed with
RUNLEDGER_JWT_HS256_SECRET or the PEM file RUNLEDGER_JWT_PRIVATE_KEY_FILE, for
RUNLEDGER_JWT_ISSUER and RUNLEDGER_JWT_AUDIENCE. What the token may do is decided
by the subject's memberships at each request; signing one makes nobody a member.`,
		Example: `  curl -H "Authorization: Bearer $(runledger token alice --ttl 15m)" http://localhost:8080/workspaces`,
		Args:    exactArgs("SUBJECT"),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := readConfig(a.environ, needSigner)
			if err != nil {
				return err
			}
			if ttl < time.Second {
				return usageError{fmt.Errorf("--ttl wants at least 1s, not %s", ttl)}
			}
			signer, err := c.signer()
			if err != nil {
				return err
			}
			token, err := signer.Sign(args[0], c.JWTIssuer, c.JWTAudience, ttl, time.Now())
			if err != nil {
				return usageError{err}
			}
			a.printf("%s\n", token)
			return nil
		},
	}
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the token is valid")
	return cmd
}
