# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_moodle_backup_global_optspecs
    string join \n settings= json q/quiet v/verbose color= h/help V/version
end

function __fish_moodle_backup_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_moodle_backup_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_moodle_backup_using_subcommand
    set -l cmd (__fish_moodle_backup_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -s h -l help -d 'Print help'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -s V -l version -d 'Print version'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "setup" -d 'Set everything up, by questions: site, backup disk, schedule'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "check" -d 'Look whether a backup can be made; change nothing'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "run" -d 'Make a backup'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "attach" -d 'Show the backup that is running; Ctrl-C ends the showing only'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "resume" -d 'Open the site again after a run with --restart half or none'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "recover" -d 'Undo what an interrupted run left, and open the site'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "list" -d 'List the backups'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "show" -d 'Show all about one backup'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "find" -d 'Find a file or folder in the backups by its name'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "status" -d 'Tell how things stand: last backup, site, what is due'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "restore" -d 'Bring a site back, whole or in part; or into a folder'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "export" -d 'Write a backup as one file, to be kept elsewhere'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "pin" -d 'Keep a backup for good: prune leaves it alone'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "unpin" -d 'Let a pinned backup go when its time comes'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "prune" -d 'Remove backups that the retention settings do not ask for'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "verify" -d 'Read backups again and say what is damaged'
complete -c moodle-backup -n "__fish_moodle_backup_needs_command" -f -a "import-settings" -d 'Take over the settings of the Moodle Backup Scripts'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l answers -d 'Ask nothing: take the answers from this file (TOML)' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l root -d 'The folder of Moodle\'s code [default: the one site that is found]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l name -d 'What the site is called here [default: moodle]' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l target -d 'Where the backups go: the mount point of a disk, or a plain folder' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l time -d 'When the nightly backup begins, such as 01:30; or never' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l mail -d 'Who gets a mail when a backup fails; or nobody' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l print-answers -d 'Ask, and print the answers as such a file; change nothing'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l yes -d 'Ask nothing: take what would be proposed'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l plan -d 'Say what would be done, and do nothing'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l install-packages -d 'Install packages that are missing'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l first-backup -d 'Make a backup at the end, and verify it'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand setup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand check" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand check" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand check" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand check" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand check" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -l restart -d 'What becomes of the site when it has been closed' -r -f -a "full\t'As it was before: open, unless it was in maintenance already'
half\t'Web server running, site in maintenance, until "resume"'
none\t'Services stopped too, site in maintenance, until "resume"'"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -l window -d 'For how long the site is closed, in place of the setting' -r -f -a "short\t'Until the snapshot is taken, about a second'
full\t'Until the dump of the database is complete'
none\t'Not at all'"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -l label -d 'A note that is kept with the backup' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -l export -d 'Write the new backup to this file too, as "export" does; a folder gets a file named after site and backup' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -l foreground -d 'Work in this process, not in the background'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -l scheduled -d 'The run is one of the timer\'s, not one by hand'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -l dry-run -d 'Say what would be done, and do nothing'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand attach" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand attach" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand attach" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand attach" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand attach" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand attach" -s h -l help -d 'Print help'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand resume" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand resume" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand resume" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand resume" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand resume" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand resume" -s h -l help -d 'Print help'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand recover" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand recover" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand recover" -l undo-restore -d 'Undo an interrupted restore although the site was opened by hand since: what was done there since is lost'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand recover" -l keep -d 'Keep a site as it is now that was opened by hand after a restore had died: what that had replaced stays set aside, for "restore --undo" or "restore --discard"'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand recover" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand recover" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand recover" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand recover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand list" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand list" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand list" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand list" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand list" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand list" -s h -l help -d 'Print help'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand show" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand show" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand show" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand show" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand show" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand show" -s h -l help -d 'Print help'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand find" -l in -d 'In this part only: code, moodledata, directory:NAME or uploads (of users); may be given several times' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand find" -l limit -d 'How many are shown; 0 for all' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand find" -l from -d 'The folder of the backups, where they are not those of the settings, or a file that "export" wrote. Needs no settings' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand find" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand find" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand find" -l all -d 'In all backups; what is the same in several is shown once'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand find" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand find" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand find" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand find" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand status" -l max-age -d 'Fail if the last good backup is older, such as 26h or 2d' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand status" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand status" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand status" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand status" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand status" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l only -d 'This part only: code, database, moodledata, directory:NAME or database:NAME; may be given several times' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l database-admin -d 'An option file with an administrator\'s account of the database server, to make a database that is gone, or to put back what others have defined in it [default: root\'s own access]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l from -d 'The folder of the backups, where they are not those of the settings: on a mounted disk, or copied here; or a file that "export" wrote. Needs no settings' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l root -d 'Where the code goes [default: [site] root of the settings, else where it was]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l dataroot -d 'Where moodledata goes, with the users\' files [default: where it was]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l wwwroot -d 'The address of the site; links in its content are changed too [default: as it was]' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l database-host -d 'The database server: HOST, HOST:PORT, or the path of its socket (PostgreSQL: of the socket\'s folder) [default: as it was]' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l database-name -d 'The database, empty or not there yet [default: as it was]' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l database-user -d 'The site\'s account in the database [default: as it was]' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l database-password-file -d 'A file that holds its password, and nothing else [default: as it was; on a terminal --database-user asks]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l web-user -d 'The web server\'s user here [default: as it was]' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l config-php -d 'A config.php made by hand, where that of the backup cannot be changed' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l to -d 'Where to: a folder that is empty or not there yet; with --path or --file others may be in it, and nothing is written over' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l path -d 'This file or folder only, by the path that it had on the server, or as PART:PATH; may be given several times' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l file -d 'A file that was uploaded to Moodle, by its name there or its content\'s hash (40 digits); all of that name' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l table -d 'A table of the site\'s database, as SQL; --to names the file for it [default: standard output]' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l owner -d 'Who is to own what was the web server user\'s [default: who it was]' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l plan -d 'Say what would be done, and do nothing'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l yes -d 'Do not ask'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l backup-first -d 'Make a backup of the site as it is now first; on a terminal this is asked'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l keep-config -d 'Keep the config.php that is there now'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l ignore-environment -d 'Go on although PHP or the database is older than this Moodle asks for'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l undo -d 'Put back what the last restore has replaced; again: what the one before has replaced'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l redo -d 'Bring back what the last --undo has replaced'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l discard -d 'Delete what restores have set aside'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l clone -d 'A copy to live beside the original: sends no mail, runs no cron, has a site identifier of its own, and shares neither files nor database with it'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l plain -d 'Write dumps of databases uncompressed'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l force -d 'Go on where the backup is damaged, and bring back what is left of it. In place: where it has lost some of users\' files, no more'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand export" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand export" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand export" -l uncompressed -d 'A plain tar; also if the name of FILE ends with .tar'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand export" -l replace -d 'Write over FILE if it is there, once the new one is whole'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand export" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand export" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand export" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand pin" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand pin" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand pin" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand pin" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand pin" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand pin" -s h -l help -d 'Print help'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand unpin" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand unpin" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand unpin" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand unpin" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand unpin" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand unpin" -s h -l help -d 'Print help'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand prune" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand prune" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand prune" -l dry-run -d 'Say what would be removed, and remove nothing'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand prune" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand prune" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand prune" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand prune" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l sample -d 'Read only some of the pool\'s files, such as 5% or 1000' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l max-time -d 'Stop after this time, such as 2h; the next call goes on from there' -r
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l scratch-folder -d 'Where the restore test has its files' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l scratch-database -d 'An option file with an account for an empty database of the name moodle_backup_test, in place of a server that the test starts itself' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l all -d 'All backups; what they share is read once'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l anew -d 'Begin anew where an earlier call was not completed'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l repair -d 'Fetch damaged files of the pool from the site again'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l restore-test -d 'Bring the backup back to life beside the site, and take it away again'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -l post-job -d 'Take over their post-job script, into post-job.d' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -l adopt -d 'Take the users\' files of their last set into the pool in place of copying them: the folder in it that has filedir. They are root\'s from then on, there too' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -l settings -d 'The settings file [default: /etc/moodle-backup/settings.toml]' -r -F
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -l dry-run -d 'Show what becomes of it, and write nothing'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -l replace -d 'Write over values that the settings here have already'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -l disable-cron -d 'Put their line in cron out of use; it stays as a comment'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -l json -d 'Print the result as JSON, for other programs'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -s q -l quiet -d 'Print warnings and errors only'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -s v -l verbose -d 'Print everything that goes into the log'
complete -c moodle-backup -n "__fish_moodle_backup_using_subcommand import-settings" -s h -l help -d 'Print help (see more with \'--help\')'
# The names of the backups, which the program tells.
function __fish_moodle_backup_names
    set -l words (commandline -opc | string replace -r -- '^--settings=(.*)' '--settings\n$1' | string split '\n')
    set -l settings
    if set -l at (contains -i -- --settings $words)
        set settings --settings $words[(math $at + 1)]
    end
    moodle-backup $settings backup-names 2>/dev/null
end
complete -c moodle-backup -n "__fish_seen_subcommand_from show find restore pin unpin verify" -f -a "(__fish_moodle_backup_names)"
complete -c moodle-backup -n "__fish_seen_subcommand_from export" -a "(__fish_moodle_backup_names)"
