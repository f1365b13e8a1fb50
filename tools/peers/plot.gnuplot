# Draws curve.*, bars.* and words.gnuplot of the current directory (see plot.awk) to standard output, as SVG.
set encoding utf8
load 'words.gnuplot'
set terminal svg size 960,430 dynamic noenhanced font 'sans-serif,13' butt background '#ffffff'
ours = '#d9480f'
peer = '#228be6'
grey = '#8b949e'
colour(i) = i == 0 ? 0xd9480f : 0x228be6

set multiplot
set label 1 what at screen 0.5,0.955 center
set tics nomirror
set border 3
set grid y linecolor rgb grey linewidth 0.4

# recall against queries per second
set lmargin at screen 0.085
set rmargin at screen 0.60
set bmargin at screen 0.14
set tmargin at screen 0.84
set title 'Search: queries per second at a recall' offset 0,-0.4
set xlabel 'recall' offset 0,0.3
set format x '%.2f'
set xrange [0.9:1]
set logscale y
stats [0.9:1] 'curve.hnswlib' using 2:3 nooutput name 'P'
stats [0.9:1] 'curve.ruvectorfs' using 2:3 nooutput name 'O'
set yrange [(P_min_y < O_min_y ? P_min_y : O_min_y) * 0.7:(P_max_y > O_max_y ? P_max_y : O_max_y) * 1.3]
set ytics ('500' 500, '1,000' 1000, '2,000' 2000, '5,000' 5000, '10,000' 10000, '20,000' 20000, '50,000' 50000, \
           '100,000' 100000, '200,000' 200000)
set key bottom left Left reverse
plot 'curve.ruvectorfs' using 2:3 with linespoints linecolor rgb ours linewidth 2.5 pointtype 7 pointsize 0.5 title 'ruvectorfs', \
     'curve.hnswlib' using 2:3 with linespoints linecolor rgb peer linewidth 2.5 pointtype 5 pointsize 0.45 title 'hnswlib'

# bars: a box an engine with its figure above it
unset label 1
unset logscale y
unset xlabel
unset key
unset grid
set border 1
unset ytics
set xrange [-0.7:1.7]
set xtics ('ruvectorfs' 0, 'hnswlib' 1) scale 0
set boxwidth 0.62
set style fill solid 0.9 noborder

set lmargin at screen 0.64
set rmargin at screen 0.81
set title build
stats 'bars.build' using 2 nooutput
set yrange [0:STATS_max * 1.3]
set label 2 'vectors per second' at graph 0.5,0.99 center textcolor rgb grey
plot 'bars.build' using 1:2:(colour($1)) with boxes linecolor rgb variable, \
     '' using 1:2:3 with labels offset 0,0.7

set lmargin at screen 0.825
set rmargin at screen 0.995
set title 'Memory'
set label 2 'bytes a vector'
stats 'bars.memory' using ($2 + $4) nooutput
set yrange [0:STATS_max * 1.3]
plot 'bars.memory' using 1:($2 + $4):(colour($1)) with boxes fillstyle solid 0.25 linecolor rgb variable, \
     '' using 1:2:(colour($1)) with boxes linecolor rgb variable, \
     '' using 1:2:3 with labels offset 0,0.7, \
     '' using 1:($4 > 0 ? $2 + $4 / 2.0 : NaN):(stringcolumn(5)."\nmapped\nfrom a file") with labels offset 0,0.7
unset multiplot
