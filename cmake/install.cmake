# Install: program, both libraries, header, pkg-config file.
if(TARGET rwkv)
  install(TARGETS rwkv RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(TARGETS rk_static rk_shared
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/rk.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# The prefix is said relative to the file's own place, so that an installed tree may be moved.
file(RELATIVE_PATH RK_PC_PREFIX
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" RK_PC_PREFIX ${RK_PC_PREFIX})
configure_file(cmake/librk.pc.in librk.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/librk.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
