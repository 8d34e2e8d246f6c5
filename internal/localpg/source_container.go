package localpg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// containerImage is what runs where no PostgreSQL is installed but a Docker engine answers.
const containerImage = "postgres:15-bookworm"

// containerMark is the file that says that the cluster's data is in a container's volume.
const containerMark = "container"

// container is a PostgreSQL in a container, its data in a volume of its own.
type container struct {
	docker string // path of the docker command
	name   string // of the container and its volume; a function of the cluster's directory
}

func (container) String() string { return "a container of " + containerImage }

// findContainer makes sure that there is a Docker engine and the image.
func findContainer(ctx context.Context, c *cluster) (container, error) {
	if c.primary != nil {
		return container{}, fmt.Errorf("%w: it would be in a container", ErrNoStandby)
	}
	docker, err := exec.LookPath("docker")
	if err != nil {
		return container{}, errors.New("no docker on PATH")
	}
	if made, err := c.major(); err != nil || made != 0 {
		return container{}, errors.Join(fmt.Errorf("the data in %s is no container's", c.dir), err)
	}
	sum := sha256.Sum256([]byte(c.dir))
	found := container{docker: docker, name: "runledger-" + hex.EncodeToString(sum[:8])}
	if err := found.run(ctx, "version"); err != nil {
		return container{}, err
	}
	if found.run(ctx, "image", "inspect", containerImage) != nil {
		c.log.Info("pulling an image", "image", containerImage)
		if err := found.run(ctx, "pull", "--quiet", containerImage); err != nil {
			return container{}, err
		}
	}
	return found, nil
}

func (e container) prepare(ctx context.Context, c *cluster) error {
	// What an earlier, killed process left running.
	if err := e.run(ctx, "rm", "--force", e.name); err != nil {
		return err
	}
	if _, err := os.Stat(c.path(containerMark)); err == nil {
		return c.readPassword()
	}
	if err := e.run(ctx, "volume", "rm", "--force", e.name); err != nil {
		return err
	}
	if err := c.makePassword(); err != nil {
		return err
	}
	return os.WriteFile(c.path(containerMark), []byte(e.name), 0o600)
}

// command runs the container in the foreground: the docker command passes signals on to
// PostgreSQL and ends with it. The password travels in the environment, which no other user can
// read, not in the arguments.
func (e container) command(c *cluster) *exec.Cmd {
	args := append([]string{
		"run", "--rm", "--name", e.name,
		"--publish", "127.0.0.1:" + strconv.Itoa(c.port) + ":5432",
		"--volume", e.name + ":/var/lib/postgresql/data",
		"--env", "POSTGRES_PASSWORD", "--env", "POSTGRES_INITDB_ARGS=--encoding=UTF8 --locale=C",
		"--shm-size", "512m", containerImage, serverProgram,
	}, c.arguments(map[string]string{"listen_addresses": "*", "port": "5432"})...)
	// The process must outlive the context of Start, so there is none here; Stop ends it.
	cmd := exec.Command(e.docker, args...) //nolint:gosec,noctx // see above
	cmd.Env = append(os.Environ(), "POSTGRES_PASSWORD="+c.password)
	var caller *account // whoever may talk to the engine; PostgreSQL has its own user in there
	cmd.SysProcAttr = caller.attributes()
	return cmd
}

// run runs a docker command for its effect.
func (e container) run(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, e.docker, args...).CombinedOutput() //nolint:gosec // found on PATH
	if err != nil {
		return fmt.Errorf("docker %s: %w: %s", args[0], err, lastLines(out))
	}
	return nil
}
