// A program that says which processor it was compiled for.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	if len(os.Args) > 2 {
		fmt.Fprintln(os.Stderr, "usage: app [NAME]")
		os.Exit(2)
	}
	name := "world"
	if len(os.Args) == 2 {
		name = os.Args[1]
	}
	fmt.Printf("hello %s from Go on %s/%s\n", name, runtime.GOOS, runtime.GOARCH)
}
