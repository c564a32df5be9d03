"""chat: what one says all others hear, in the same order, and nobody holds them up: neither a slow command nor a client
that does not read, sends too much or is gone; and a signal ends the server with a goodbye.
"""

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
import programs  # noqa: E402

# ThreadSanitizer lets a program sleep for a second before it ends; here so many end that it takes minutes.
os.environ.setdefault("TSAN_OPTIONS", "atexit_sleep_ms=50")

ENDLESS = 4_000_000_000  # so many numbers take hours
TOO_BUSY = "* one after the other: your last primes are not counted yet"
GOODBYE = "* the server is shut down: goodbye"


class Person:
    """A client that is used by hand."""

    def __init__(self, port, receive_buffer=None):
        self.socket = socket.socket()
        self.socket.settimeout(programs.SECONDS)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self.lines = self.socket.makefile("rb")

    def say(self, *lines):
        self.socket.sendall("".join(line + "\n" for line in lines).encode())

    def hear(self, count=None):
        """The next line, or the next ones; an empty one is the end."""
        heard = [self.lines.readline().decode().rstrip("\n") for _ in range(count or 1)]
        return heard if count else heard[0]

    def rest(self):
        return self.lines.read().decode().splitlines()

    def no_more_to_say(self):
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.lines.close()
        self.socket.close()

    def vanish(self):
        """As a process that is killed with something unread: no goodbye, but a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class Chat(programs.ProgramTest):
    def start(self, settings=None, **options):
        self.people = []
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(self.command("chat", port=0, **options), **pipes, **(settings or {}))
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.process.stderr.close)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        line = self.process.stdout.readline().decode()
        self.assertRegex(line, r"^listening on 127\.0\.0\.1 port \d+\n$")
        self.port = int(line.split()[-1])

    def connect(self, **options):
        person = Person(self.port, **options)
        self.addCleanup(person.close)
        self.people.append(person)
        return person

    def join(self, *others, **options):
        """A new client, as those who are there hear of it."""
        person = self.connect(**options)
        welcome = person.hear()
        self.assertRegex(welcome, r"^\* welcome, guest\d+: /help says what you can do$")
        person.nick = welcome.split()[2][:-1]
        for other in others:
            self.assertEqual(other.hear(), f"* {person.nick} is here")
        return person

    def join_many(self, count):
        people = []
        for _ in range(count):
            people.append(self.join(*people))
        return people

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        for person in self.people:  # so that it need not wait for them
            person.close()
        self.finish()

    def finish(self, code=0):
        out, err = self.process.communicate(timeout=programs.SECONDS)
        self.assertEqual((self.process.returncode, out, err), (code, b"", b""))


class Talking(Chat):
    def test_all_others_hear_it(self):
        self.start()
        ann, bob, cid = self.join_many(3)
        ann.say("hello", "", "how are you?")
        for other in (bob, cid):
            self.assertEqual(other.hear(2), [f"{ann.nick}: hello", f"{ann.nick}: how are you?"])
        bob.say("fine")
        self.assertEqual((ann.hear(), cid.hear()), (f"{bob.nick}: fine",) * 2)
        self.stop()

    def test_all_hear_the_same_order(self):
        self.start()
        people = self.join_many(6)
        count, speakers = 200, people[:3]

        def speak(person):
            for i in range(count):
                person.say(f"{i}")

        threads = [threading.Thread(target=speak, args=[person]) for person in speakers]
        for thread in threads:
            thread.start()
        heard = [person.hear(count * (2 if person in speakers else 3)) for person in people]
        for thread in threads:
            thread.join()
        for lines in heard[3:]:
            self.assertEqual(lines, heard[-1])
        for person, lines in zip(speakers, heard):
            own = [f"{person.nick}: {i}" for i in range(count)]
            self.assertEqual([line for line in heard[-1] if line in own], own)
            self.assertEqual(lines, [line for line in heard[-1] if line not in own])
        self.stop()

    def test_lines_in_pieces_and_with_returns(self):
        self.start()
        ann, bob = self.join_many(2)
        for piece in (b"one\r\ntw", b"o\nthr", b"ee", b"\n"):
            ann.socket.sendall(piece)
        self.assertEqual(bob.hear(3), [f"{ann.nick}: {word}" for word in ("one", "two", "three")])
        self.stop()

    def test_text_does_not_command_the_terminal(self):
        self.start()
        ann, bob = self.join_many(2)
        ann.say("\x1b[31mred\a \u00fc\x7f")
        self.assertEqual(bob.hear(), f"{ann.nick}: ?[31mred? \u00fc?")
        self.stop()


class Commands(Chat):
    def test_names(self):
        self.start()
        ann, bob = self.join_many(2)
        ann.say("/nick ann", "/who")
        self.assertEqual(ann.hear(2), ["* you are ann", f"* here: ann, {bob.nick}"])
        self.assertEqual(bob.hear(), f"* {ann.nick} is now ann")
        bob.say("/nick ann", "/nick bob", "hi")
        self.assertEqual(bob.hear(2), ["* the name ann is taken", "* you are bob"])
        self.assertEqual(ann.hear(2), [f"* {bob.nick} is now bob", "bob: hi"])
        ann.say("/nick ann")
        self.assertEqual(ann.hear(), "* the name ann is taken")
        self.stop()

    def test_names_that_are_none(self):
        self.start()
        ann = self.join()
        for name in ("", "a b", "x" * 21, "\u00fc", "a\x1b", "a,b", " a"):
            ann.say(f"/nick {name}")
            self.assertEqual(ann.hear(), "* a name has 1 to 20 letters, digits, '_' and '-'")
        ann.say("/nick " + "x" * 20)
        self.assertEqual(ann.hear(), "* you are " + "x" * 20)
        self.stop()

    def test_name_that_a_guest_would_have(self):
        self.start()
        ann = self.join()
        ann.say("/nick guest2")
        self.assertEqual(ann.hear(), "* you are guest2")
        self.assertEqual(self.join(ann).nick, "guest3")
        self.stop()

    def test_names_are_free_again(self):
        self.start()
        ann, bob = self.join_many(2)
        for leave in ("/quit", None):
            ann.say("/nick ann")
            self.assertEqual(bob.hear(), f"* {ann.nick} is now ann")
            ann.say(leave) if leave else ann.vanish()
            self.assertEqual(bob.hear(), "* ann has left")
            ann = self.join(bob)
        self.stop()

    def test_two_want_the_same_name(self):
        self.start()
        people = self.join_many(8)
        for person in people:
            person.say("/nick me")
        for person in people:  # each hears of the one who got it: himself or another
            first = person.hear()
            while "is now me" in first:
                first = person.hear()
            self.assertIn(first, ("* you are me", "* the name me is taken"))
            person.got_it = first == "* you are me"
        self.assertEqual([person.got_it for person in people].count(True), 1)
        self.stop()

    def test_primes(self):
        self.start()
        ann = self.join()
        for limit, count in ((0, 0), (2, 0), (3, 1), (100, 25), (100_000, 9592)):
            ann.say(f"/primes {limit}")
            self.assertEqual(ann.hear(), f"* there are {count} primes below {limit}")
        self.stop()

    def test_primes_that_are_not_counted(self):
        self.start(max_primes=1000)
        ann = self.join()
        for number in ("1001", "-1", "x", "", "10 20", "99999999999999999999"):
            ann.say(f"/primes {number}")
            self.assertEqual(ann.hear(), "* /primes takes a number up to 1000")
        self.stop()

    def test_help_and_unknown_commands(self):
        self.start()
        ann = self.join()
        for command in ("/help", "/", "/dance", "/quitter"):
            ann.say(command)
            self.assertIn("/primes N counts primes", ann.hear())
        self.stop()

    def test_quit(self):
        self.start()
        ann, bob = self.join_many(2)
        ann.say("bye", "/quit", "not heard any more")
        self.assertEqual(ann.rest(), ["* goodbye"])
        self.assertEqual(bob.hear(2), [f"{ann.nick}: bye", f"* {ann.nick} has left"])
        ann.close()
        bob.say("/who")
        self.assertEqual(bob.hear(), f"* here: {bob.nick}")
        self.stop()

    def test_quit_before_more_than_anybody_reads(self):
        self.start(goodbye_ms=60_000)
        ann = self.join()
        ann.say("/quit", *["x" * 100] * 5_000)
        self.assertEqual(ann.rest(), ["* goodbye"])
        for _ in range(100):
            ann.say("and more")  # what the server reads no more would reset the connection, and destroy the goodbye
        self.stop()


class SlowCommands(Chat):
    def test_nobody_waits_for_a_slow_command(self):
        self.start(workers=1, max_primes=ENDLESS)
        ann, bob, cid = self.join_many(3)
        ann.say(f"/primes {ENDLESS}", "/primes 10", "still here")
        self.assertEqual(ann.hear(), TOO_BUSY)
        for other in (bob, cid):
            self.assertEqual(other.hear(), f"{ann.nick}: still here")
        bob.say("so are we", "/who")
        self.assertEqual((ann.hear(), cid.hear()), (f"{bob.nick}: so are we",) * 2)
        self.assertTrue(bob.hear().startswith("* here: "))
        self.stop()

    def test_a_worker_does_not_count_for_those_who_have_left(self):
        for leave in (lambda person: person.say("/quit"), lambda person: person.vanish()):
            self.start(workers=1, max_primes=ENDLESS)
            ann, bob = self.join_many(2)
            ann.say(f"/primes {ENDLESS}", "begun")
            self.assertEqual(bob.hear(), f"{ann.nick}: begun")
            bob.say("/primes 100")  # waits for the only worker
            leave(ann)
            self.assertCountEqual(bob.hear(2), [f"* {ann.nick} has left", "* there are 25 primes below 100"])
            self.stop()

    def test_results_come_to_who_has_closed_its_side_only(self):
        self.start()
        ann, bob = self.join_many(2)
        ann.say("the last", "/primes 100000")
        ann.no_more_to_say()
        self.assertEqual(ann.rest(), ["* there are 9592 primes below 100000", "* goodbye"])
        self.assertEqual(bob.hear(2), [f"{ann.nick}: the last", f"* {ann.nick} has left"])
        self.stop()

    def test_many_at_once(self):
        self.start(workers=3)
        people = self.join_many(12)
        for person in people:
            person.say("/primes 20000")
        for person in people:
            self.assertEqual(person.hear(), "* there are 2262 primes below 20000")
        self.stop()


class Bounds(Chat):
    def test_too_long_lines(self):
        self.start(max_line=50)
        ann, bob = self.join_many(2)
        told = "* a line has at most 50 bytes: yours is dropped"
        ann.say("x" * 50, "y" * 51, "z" * 10_000, "short")
        self.assertEqual(bob.hear(2), [f"{ann.nick}: " + "x" * 50, f"{ann.nick}: short"])
        self.assertEqual(ann.hear(2), [told, told])
        ann.socket.sendall(b"w" * 1000)  # no end is in sight: it is told all the same, once
        self.assertEqual(ann.hear(), told)
        ann.socket.sendall(b"w" * 1000 + b"\nlast\n")
        self.assertEqual(bob.hear(), f"{ann.nick}: last")
        ann.socket.sendall(b"v" * 51)
        ann.no_more_to_say()
        self.assertEqual(ann.rest(), [told, "* goodbye"])
        self.assertEqual(bob.hear(), f"* {ann.nick} has left")
        self.stop()

    def test_last_line_without_an_end(self):
        self.start()
        ann, bob = self.join_many(2)
        ann.socket.sendall(b"one\ntwo")
        ann.no_more_to_say()
        self.assertEqual(bob.hear(3), [f"{ann.nick}: one", f"{ann.nick}: two", f"* {ann.nick} has left"])
        self.assertEqual(ann.rest(), ["* goodbye"])
        self.stop()

    def test_client_that_does_not_read(self):
        self.start(max_output=20_000)
        ann, bob = self.join_many(2)
        self.join(ann, bob, receive_buffer=4_000)  # and that is all it reads
        lines = ["x" * 900] * 10
        heard = []
        for _ in range(2_000):  # far more than the system keeps for it
            ann.say(*lines)
            heard += bob.hear(len(lines))  # so the others have read in time
            if any(line.startswith("*") for line in heard):
                break
        cut_off = "* guest3 is cut off: it does not read"
        self.assertEqual([line for line in heard if line.startswith("*")], [cut_off])
        self.assertEqual(ann.hear(), cut_off)
        ann.say("/who")
        self.assertEqual(ann.hear(), "* here: guest1, guest2")
        self.stop()

    def test_client_that_asks_and_does_not_read(self):
        self.start(max_output=20_000)
        ann = self.join()
        bob = self.join(ann, receive_buffer=4_000)
        with self.assertRaises(OSError):
            while True:
                bob.say(*["/help"] * 100)
        self.assertEqual(ann.hear(), "* guest2 is cut off: it does not read")
        self.stop()

    def test_too_many_clients(self):
        self.start(max_clients=3)
        ann, bob, cid = self.join_many(3)
        for _ in range(5):
            self.assertEqual(self.connect().rest(), ["* the server is full: try again later"])
        cid.say("/quit")
        self.assertEqual((cid.hear(), ann.hear()), ("* goodbye", "* guest3 has left"))
        cid.close()
        # Its place is free as soon as the server has noticed.
        self.assertEqual(self.eventually(self.enter), "guest4")
        self.assertEqual((ann.hear(), bob.hear(2)[1]), ("* guest4 is here",) * 2)
        self.stop()

    def enter(self):
        return (words := self.connect().hear().split())[1] == "welcome," and words[2][:-1]

    def test_too_few_descriptors(self):
        if "undefined" in programs.build_settings(self.programs["chat"]).get("CONC_SANITIZE", ""):
            self.skipTest("UndefinedBehaviorSanitizer needs a descriptor to look at objects")

        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))

        self.start(settings={"preexec_fn": few})
        people = [self.connect() for _ in range(30)]  # some are connected, and wait to be accepted
        for person in people:  # each makes room for another
            self.assertTrue(person.hear().startswith("* welcome, "))
            person.say("/quit")
            self.assertEqual(person.rest()[-1], "* goodbye")
            person.close()
        self.stop()


class Leaving(Chat):
    def test_clients_that_are_gone(self):
        self.start()
        ann, bob = self.join_many(2)
        for leave in (Person.close, Person.vanish):
            other = self.join(ann, bob)
            leave(other)
            for person in (ann, bob):
                self.assertEqual(person.hear(), f"* {other.nick} has left")
        self.stop()

    def test_many_come_and_go(self):
        self.start()
        ann = self.join()

        def come_and_go(number):
            for i in range(20):
                person = Person(self.port)
                person.say(f"{number} {i}")
                (person.close, person.vanish, lambda: person.say("/quit") or person.rest())[i % 3]()
                person.close()

        threads = [threading.Thread(target=come_and_go, args=[number]) for number in range(5)]
        for thread in threads:
            thread.start()
        heard = []
        while sum(line.endswith("has left") for line in heard) < 100:
            heard.append(ann.hear())
        for thread in threads:
            thread.join()
        self.assertEqual(sum(line.endswith("is here") for line in heard), 100)
        ann.say("/who")
        self.assertEqual(ann.hear(), f"* here: {ann.nick}")
        self.stop()


class Stopping(Chat):
    def test_all_get_a_goodbye(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.start(max_primes=ENDLESS)
            people = self.join_many(4)
            people[0].say(f"/primes {ENDLESS}", "begun")
            self.assertEqual(people[1].hear(), f"{people[0].nick}: begun")
            people[3].no_more_to_say()
            self.assertEqual(people[3].rest(), [f"{people[0].nick}: begun", "* goodbye"])
            for person in people[:3]:
                while person.hear() != f"* {people[3].nick} has left":
                    pass
            self.process.send_signal(number)
            self.assertEqual([person.rest() for person in people[:3]], [[GOODBYE]] * 3)
            for person in people:
                person.close()
            self.finish()

    def test_nobody_is_there(self):
        self.start()
        self.stop()

    def test_client_that_does_not_hang_up(self):
        self.start(goodbye_ms=200)
        ann = self.join()
        self.process.send_signal(signal.SIGINT)
        self.finish()  # it does not wait for long
        self.assertEqual(ann.rest(), [GOODBYE])

    def test_client_that_does_not_read_and_one_that_goes_on(self):
        self.start(goodbye_ms=200, max_output=1_000_000)
        ann, bob = self.join_many(2)
        silent = self.join(ann, bob, receive_buffer=4_000)
        for _ in range(40):
            ann.say("x" * 900, *["y" * 900] * 9)
            bob.hear(10)

        def send_empty_lines():
            try:
                while True:
                    ann.say(*[""] * 1000)
            except OSError:
                pass

        ann.say("begun")
        thread = threading.Thread(target=send_empty_lines)
        thread.start()
        self.assertEqual(bob.hear(), f"{ann.nick}: begun")
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(bob.rest(), [GOODBYE])
        self.finish()
        thread.join()
        silent.close()

    def test_half_closed_client_that_waits_for_a_result(self):
        self.start(max_primes=ENDLESS)
        ann, bob = self.join_many(2)
        ann.say(f"/primes {ENDLESS}", "begun")
        ann.no_more_to_say()
        self.assertEqual(bob.hear(), f"{ann.nick}: begun")
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual((ann.rest(), bob.rest()), ([GOODBYE],) * 2)
        bob.close()
        self.finish()

    def test_second_signal_ends_it_at_once(self):
        self.start(goodbye_ms=600_000)
        ann = self.join()
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(ann.rest(), [GOODBYE])  # and does not hang up, so the server waits
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(programs.SECONDS), -signal.SIGINT)


class WrongUse(Chat):
    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            _, err = self.run_program(self.command("chat", port=taken.getsockname()[1]), 1)
        self.assertRegex(err, r"\Achat: .*Address already in use.*\n\Z")

    def test_a_port_is_free_again_at_once(self):
        self.start()
        self.join()  # the server's side of this connection lingers
        self.stop()
        port, self.port = self.port, None
        process = subprocess.Popen(self.command("chat", port=port), stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline().decode(), f"listening on 127.0.0.1 port {port}\n")

    def test_address_of_another_machine(self):
        _, err = self.run_program(self.command("chat", address="192.0.2.1", port=0), 1)
        self.assertRegex(err, r"\Achat: .*Cannot assign requested address.*\n\Z")

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            command = self.command("chat", port=0)
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=programs.SECONDS, check=False)
        self.assertEqual((done.returncode, done.stderr[:21]), (1, b"chat: standard output"))

    def test_wrong_use(self):
        for arguments, words in (
            (["--port", "65536"], "--port"),
            (["--port", "-1"], "--port"),
            (["--port", "x"], "--port"),
            (["--address", "nowhere"], "'nowhere' is no address"),
            (["--max-clients", "0"], "--max-clients"),
            (["--max-line", "9"], "--max-line"),
            (["--max-output", "999"], "--max-output"),
            (["--max-primes", "0"], "--max-primes"),
            (["--max-primes", "4000000001"], "--max-primes"),
            (["--goodbye-ms", "0"], "--goodbye-ms"),
            (["--workers", "0"], "--workers"),
            (["more"], "more"),
        ):
            out, err = self.run_program(self.command("chat", *arguments), 2)
            self.assertEqual(out, "")
            self.assertIn(words, err)

    def test_help(self):
        out, _ = self.run_program(self.command("chat", "--help"))
        self.assertIn("Exit code:", out)


if __name__ == "__main__":
    programs.main()
