package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// checkBuild reads a service's Dockerfile as `docker build` does. Its target must be there, each argument be one that a
// stage asks for, and BuildKit's own linter have nothing to say.
func checkBuild(build *types.BuildConfig) error {
	path := filepath.Join(build.Context, build.Dockerfile)
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var found error
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, _ []parser.Range) {
		found = fmt.Errorf("%s: %s: %s", path, rule, message)
	}})
	stages, arguments, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if found != nil {
		return found
	}
	if _, there := instructions.HasStage(stages, build.Target); build.Target != "" && !there {
		return fmt.Errorf("%s: no stage %s", path, build.Target)
	}
	return checkArguments(path, build.Args, stages, arguments)
}

func checkArguments(path string, given types.MappingWithEquals, stages []instructions.Stage, global []instructions.ArgCommand) error {
	asked := map[string]bool{}
	for _, argument := range global {
		for _, pair := range argument.Args {
			asked[pair.Key] = true
		}
	}
	for _, stage := range stages {
		for _, command := range stage.Commands {
			if argument, is := command.(*instructions.ArgCommand); is {
				for _, pair := range argument.Args {
					asked[pair.Key] = true
				}
			}
		}
	}
	for name := range given {
		if !asked[name] {
			return fmt.Errorf("%s: nobody asks for the argument %s", path, name)
		}
	}
	return nil
}
