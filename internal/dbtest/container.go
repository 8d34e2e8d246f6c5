package dbtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/postgres"
)

// image is the PostgreSQL that runs in a container.
const image = "postgres:15-bookworm"

// startContainer starts a server in a container, if a Docker engine answers and has the image or
// can get it.
func startContainer(ctx context.Context) (_ running, err error) {
	defer func() {
		if reason := recover(); reason != nil { // the library's word for a bad configuration
			err = fmt.Errorf("docker: %v", reason)
		}
	}()
	if err := dockerAnswers(ctx); err != nil {
		return running{}, err
	}
	args := []string{"postgres"}
	for name, value := range settings() {
		args = append(args, "-c", name+"="+value)
	}
	c, err := postgres.Run(ctx, image,
		postgres.WithUsername("postgres"),
		postgres.WithPassword(rand.Text()), // the port may be open to the network
		postgres.WithDatabase("postgres"),
		testcontainers.WithCmd(args...),
		testcontainers.WithHostConfigModifier(func(c *container.HostConfig) {
			c.ShmSize = 512 << 20 // parallel workers share memory there; an engine's own size is 64 MiB
		}),
		postgres.BasicWaitStrategies(),
	)
	stop := func(ctx context.Context) error {
		return testcontainers.TerminateContainer(c, testcontainers.StopContext(ctx))
	}
	if err != nil {
		_ = stop(context.WithoutCancel(ctx))
		return running{}, fmt.Errorf("container of %s: %w", image, err)
	}
	url, err := c.ConnectionString(ctx, "sslmode=disable")
	if err != nil {
		_ = stop(context.WithoutCancel(ctx))
		return running{}, fmt.Errorf("container of %s: %w", image, err)
	}
	alive := func(ctx context.Context) bool {
		state, err := c.State(ctx)
		return err != nil || state.Running // an engine that does not answer is no proof
	}
	return running{url: url, alive: alive, stop: stop}, nil
}

// dockerAnswers fails if there is no Docker engine.
func dockerAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return fmt.Errorf("docker: %w", err)
	}
	defer func() { _ = provider.Close() }()
	if err := provider.Health(ctx); err != nil {
		return fmt.Errorf("docker: %w", err)
	}
	return nil
}
