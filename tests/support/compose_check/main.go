// Loads a Compose file as `docker compose` itself does, with its own library, and prints what it makes of it as JSON:
//
//	compose_check docker-compose.yml .env
//
// Every variable comes from the env file alone. What the specification does not allow, an unknown key or a variable
// that is missing, ends it with status 1 and the library's message; and so does a Dockerfile that BuildKit, which is
// what `docker build` runs, would not take.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: compose_check COMPOSE_FILE ENV_FILE")
		os.Exit(2)
	}
	project, err := load(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(project)
}

func load(file, env string) (string, error) {
	options, err := cli.NewProjectOptions([]string{file},
		cli.WithEnvFiles(env), cli.WithDotEnv, cli.WithInterpolation(true), cli.WithNormalization(true), cli.WithConsistency(true))
	if err != nil {
		return "", err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return "", err
	}
	for name, service := range project.Services {
		if service.Build == nil {
			continue
		}
		if err := checkBuild(service.Build); err != nil {
			return "", fmt.Errorf("services.%s.build: %w", name, err)
		}
	}
	text, err := project.MarshalJSON()
	return string(text), err
}
