// eslgo reads events and counts them. Built by bench/peers.py.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/percipia/eslgo"
	"github.com/percipia/eslgo/command"
)

func main() {
	left, _ := strconv.ParseInt(os.Args[2], 10, 64)
	ended := make(chan struct{})
	options := eslgo.DefaultInboundOptions
	options.Options.Logger = nil
	connection, err := options.Dial("127.0.0.1:" + os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	// Each event comes in a goroutine of its own, its headers parsed. Whoever follows calls asks for the name of every one.
	connection.RegisterEventListener(eslgo.EventListenAll, func(event *eslgo.Event) {
		if event.GetName() != "" && atomic.AddInt64(&left, -1) == 0 {
			close(ended)
		}
	})
	within, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := connection.SendCommand(within, command.Event{Format: "plain", Listen: []string{"ALL"}}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	<-ended
	fmt.Println("done")
	select {}
}
