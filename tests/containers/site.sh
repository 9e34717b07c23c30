#!/bin/sh
# Makes a pocket Moodle on a machine of its own, as an administrator would: site.sh mariadb|mysqli|pgsql apache2|nginx
# Code in /var/www/moodle, moodledata in /var/moodledata, served at http://localhost/.
set -eu
database=$1
web=$2
password="p&ss w0rd of the 'site'"

case $database in
mariadb | mysqli)
    "$(command -v mariadb || command -v mysql)" <<SQL
CREATE DATABASE moodle CHARACTER SET utf8mb4;
CREATE USER moodle@localhost IDENTIFIED BY 'p&ss w0rd of the ''site''';
GRANT ALL ON moodle.* TO moodle@localhost;
SQL
    ;;
pgsql)
    # In the journal and to everybody it is closed; the site comes by TCP with its password.
    runuser -u postgres -- psql -qX <<SQL
CREATE USER moodle PASSWORD 'p&ss w0rd of the ''site''';
CREATE DATABASE moodle OWNER moodle;
SQL
    ;;
esac

mkdir -p /var/www/moodle
cp -r /opt/pocket-moodle/site/. /var/www/moodle
install -d -o www-data -g www-data -m 2770 /var/moodledata
cat >/var/www/moodle/config.php <<PHP
<?php
unset(\$CFG);
global \$CFG;
\$CFG = new stdClass();
\$CFG->dbtype = '$database';
\$CFG->dblibrary = 'native';
\$CFG->dbhost = '127.0.0.1';
\$CFG->dbname = 'moodle';
\$CFG->dbuser = 'moodle';
\$CFG->dbpass = "$password";
\$CFG->prefix = 'mdl_';
\$CFG->dboptions = array('dbpersist' => false);
\$CFG->wwwroot = 'http://localhost';
\$CFG->dataroot = '/var/moodledata';
\$CFG->admin = 'admin';
\$CFG->directorypermissions = 02770;
require_once(__DIR__ . '/lib/setup.php');
PHP
if [ "$database" != pgsql ]; then
    sed -i "s/127.0.0.1/localhost/" /var/www/moodle/config.php
fi
chown root:www-data /var/www/moodle/config.php
chmod 640 /var/www/moodle/config.php
runuser -u www-data -- php -d memory_limit=-1 /opt/pocket-moodle/install/install.php --root=/var/www/moodle --files=200

case $web in
apache2)
    sed -i 's|/var/www/html|/var/www/moodle|' /etc/apache2/sites-available/000-default.conf
    systemctl restart apache2
    ;;
nginx)
    socket=$(find /run/php -name 'php[0-9]*-fpm.sock')
    cat >/etc/nginx/sites-available/default <<NGINX
server {
    listen 80;
    root /var/www/moodle;
    index index.php;
    location ~ [^/]\.php(/|\$) {
        include fastcgi_params;
        fastcgi_param SCRIPT_FILENAME \$document_root\$fastcgi_script_name;
        fastcgi_pass unix:$socket;
    }
}
NGINX
    systemctl restart nginx
    ;;
esac
